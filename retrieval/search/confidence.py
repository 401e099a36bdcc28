"""How much a score is worth: where it stands among those of unrelated texts with the same video, and of the same text
with other videos.

Some videos score high with every text, some texts with every video, and some encoders score high altogether, so one
threshold on raw scores cannot serve two queries or two indexes. Speaker verification normalises a score by those of
cohorts of impostors (Auckenthaler et al., "Score Normalization for Text-Independent Speaker Verification Systems",
2000), on both sides and each by the impostors that come nearest (Matejka et al., "Analysis of Score Normalization in
Multilingual Speaker Recognition", Interspeech 2017); QB-Norm a text's score by a bank of others (Bogolin et al.,
"Cross Modal Retrieval with Querybank Normalisation", CVPR 2022). Here the cohort of a video is the twentieth of a bank
of texts that fits it best, and that of a text the tenth of a sample of the index that fits it best. Where these score
more than such cohorts do on average, a quarter of it is asked of the score, too:

    level      = mean_texts + (best_texts - mean_texts) / 4 + (best_videos - mean_videos) / 4
    confidence = sigmoid(1.7 * (score - level) / deviation of the bank's scores with a video)
"""

import os
import threading
from pathlib import Path

import torch

from dmae.modeling.encoding import encode_texts
from dmae.modeling.features import TextFeatures
from dmae.modeling.similarity import dmae_similarity
from dmae.modeling.text_bank import BANK_FILE, load_text_bank, save_text_bank, text_weights_digest

from ..cache import cache_folder
from ..storage.rows import pool_frames
from .combination import Queries
from .scoring import CandidateFrames, ScoreOptions
from .stages import query_vectors

COHORT = 20  # one text in so many of the bank is compared with
VIDEO_COHORT = 10  # and one video in so many of the sample
SHARE = 0.25  # of how much a cohort exceeds the usual; all of it would call what many videos show doubtful
STEEPNESS = 1.7  # at which a sigmoid follows the normal distribution
SAMPLE = 64  # texts and videos by which stage one's estimates are brought to the level of whole scores


class TextBank:
    """The texts to compare with: those beside the model, in its folder or on the Hub, else everyday phrases; read at
    first use, then kept."""

    def __init__(self, model, processor):
        self._model, self._processor = model, processor
        self._features: TextFeatures | None = None
        self._lock = threading.Lock()

    def features(self) -> TextFeatures:
        """`(M, …)` features of the texts.

        Raises:
            ModelError: the bank beside the model is of another model.
        """
        with self._lock:
            if self._features is None:
                path = self._beside_the_model()
                self._features = self._phrases() if path is None else load_text_bank(path, self._model)
            return self._features

    def _beside_the_model(self) -> Path | None:
        from transformers.utils.hub import cached_file

        config = self._model.config
        if not config._name_or_path:
            return None
        try:
            found = cached_file(
                config._name_or_path,
                BANK_FILE,
                revision=getattr(config, "_commit_hash", None),
                _raise_exceptions_for_gated_repo=False,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
        except OSError:  # a folder that has gone, a repository that only the caller's token opens
            return None
        return None if found is None else Path(found)

    def _phrases(self) -> TextFeatures:
        """Everyday phrases, encoded once per model and kept on this machine."""
        cache = cache_folder()
        path = cache / f"phrases-{text_weights_digest(self._model)}.safetensors"
        if path.is_file():
            return load_text_bank(path, self._model)
        phrases = Path(__file__).with_name("everyday_phrases.txt").read_text(encoding="utf-8").splitlines()
        bank = encode_texts(self._model, self._processor, phrases)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}")
            save_text_bank(unfinished, bank, self._model)
            os.replace(unfinished, path)
        except OSError:  # a machine without a place to write encodes them in every process
            pass
        return bank


class Judge:
    """Confidences for the videos of an index, of which `sample` is a part."""

    def __init__(self, bank: TextFeatures, sample: CandidateFrames, options: ScoreOptions):
        self._vectors = query_vectors(bank, options)
        self._videos = pool_frames(sample.embeds.float(), sample.weights)
        estimates = self._vectors @ self._videos.t()
        texts, videos = bank[:SAMPLE], CandidateFrames(*(part[:SAMPLE] for part in sample))
        exact = dmae_similarity(
            *texts,
            videos.embeds.float(),
            videos.weights,
            text_attention=options.textual_attention,
            visual_attention=options.visual_attention,
            neighbor_weight=options.neighbor_weight,
        )
        self._lift = float((exact - estimates[:SAMPLE, :SAMPLE]).mean())
        self._usual_texts = float(_best(estimates.t(), COHORT).mean())
        self._usual_videos = float(_best(estimates, VIDEO_COHORT).mean())
        self._deviation = max(float(estimates.std(dim=0, correction=0).mean()), 1e-6)

    def demands(self, queries: Queries) -> torch.Tensor:
        """`(A,)` what is asked of the scores of each query beyond the usual, because it fits many videos well."""
        best = _best(queries.combine(queries.vectors @ self._videos.t()), VIDEO_COHORT)
        return SHARE * (best - self._usual_videos)

    def __call__(self, scores: torch.Tensor, pooled: torch.Tensor, demands: torch.Tensor) -> torch.Tensor:
        """`(N,)` confidences from 0 to 1 of `(N,)` scores with videos of these `(N, D)` mean frames.

        Args:
            demands: `(N,)` of the query that each score is of.
        """
        excess = _best((self._vectors @ pooled.t()).t(), COHORT) - self._usual_texts
        level = self._usual_texts + SHARE * excess + demands + self._lift
        return torch.sigmoid(STEEPNESS * (scores - level) / self._deviation)


def _best(scores: torch.Tensor, one_in: int) -> torch.Tensor:
    """The mean of the best of each row, one score in so many."""
    return scores.topk(max(1, scores.shape[1] // one_in), dim=1).values.mean(dim=1)
