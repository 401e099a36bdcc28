"""Words by frames: the token similarities that a score is made of."""

import re
from dataclasses import dataclass

import numpy as np
import torch

from dmae.modeling.features import TextFeatures
from dmae.retrieval.search.scoring import CandidateFrames

_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Explanation:
    """Why a video matched.

    Attributes:
        words: T strings, the query's words (or the frames of an example).
        weights: `(T,)` how much each counts; 2 for a content word.
        similarity: `(T, F)` cosine of each word and each frame.
        sentence: `(F,)` cosine of the whole query and each frame.
        times: F seconds (empty where the index does not know them).
    """

    words: list[str]
    weights: np.ndarray
    similarity: np.ndarray
    sentence: np.ndarray
    times: list[float]

    def to_dict(self) -> dict:
        return {
            "words": self.words,
            "weights": [round(float(w), 4) for w in self.weights],
            "frame_times": [round(t, 3) for t in self.times],
            "similarity": [[round(float(s), 5) for s in row] for row in self.similarity],
            "sentence": [round(float(s), 5) for s in self.sentence],
        }


def explain(words: list[tuple[str, list[int]]], features: TextFeatures, frames: CandidateFrames, times) -> Explanation:
    """Similarities of one query (`features` of a batch of one) and one video.

    Args:
        words: each word and the positions of its tokens; a word of several tokens gets their mean.
        frames: of one video.
    """
    real = frames.weights[0] > 0
    embeds = frames.embeds[0, real]
    tokens = (features.word_embeds[0] @ embeds.t()).numpy()
    weights = features.word_weights[0].numpy()
    rows = [tokens[at].mean(axis=0) for _, at in words]
    return Explanation(
        words=[word for word, _ in words],
        weights=np.array([weights[at].max() for _, at in words]),
        similarity=np.stack(rows) if rows else np.zeros((0, len(embeds))),
        sentence=torch.mv(embeds, features.sentence_embeds[0]).numpy(),
        times=[float(t) for t in times],
    )


def words_of(processor, text: str) -> list[tuple[str, list[int]]]:
    """The words of a text as the visitor wrote them, with the positions of their tokens."""
    encoded = processor.tokenizer(text, truncation=True, max_length=processor.max_words, return_offsets_mapping=True)
    found = []
    for match in _WORD.finditer(text):
        begin, end = match.span()
        at = [n for n, (a, b) in enumerate(encoded["offset_mapping"]) if a < b and a < end and begin < b]
        if at:
            found.append((match.group(), at))
    return found
