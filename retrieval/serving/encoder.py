"""The model, which turns queries into what shards are searched with, and tells what their scores are worth."""

from dataclasses import replace

import torch
from ray import serve

from dmae.modeling.loading import load_pretrained
from dmae.modeling.precision import place

from ..indexing.fingerprint import model_encoder, preprocessing_encoder
from ..search.confidence import Judge, TextBank
from ..search.query import EncodedQuery, encode_text_queries, words_of
from ..search.scoring import CandidateFrames, ScoreOptions
from ..storage.schema import IndexSettings
from ..storage.sharding import check_same_model
from .options import QUICK_CHECKS


@serve.deployment(max_ongoing_requests=64, **QUICK_CHECKS)
class QueryEncoder:
    """Texts to features, many visitors' in one batch."""

    def __init__(self, name: str, settings: IndexSettings, cpus: float):
        torch.set_num_threads(max(1, int(cpus)))
        model, self.processor = load_pretrained(name)
        mine = replace(settings, model=model_encoder(model), preprocessing=preprocessing_encoder(self.processor))
        check_same_model([settings, mine], ["the index", name])
        self.model = place(model, "cuda" if torch.cuda.is_available() else "cpu").eval()
        self.scoring = ScoreOptions.of(model.config)
        self.bank = TextBank(self.model, self.processor).features()

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002)
    async def encode(self, texts: list[str]) -> list[tuple[EncodedQuery, ScoreOptions]]:
        return [(query, self.scoring) for query in encode_text_queries(self.model, self.processor, texts)]

    async def words(self, query: EncodedQuery) -> list[tuple[str, list[int]]]:
        return words_of(self.processor, query)

    async def judge(self, sample: CandidateFrames) -> Judge:
        """What tells confidences, by a sample of the whole index."""
        return Judge(self.bank, sample, self.scoring)
