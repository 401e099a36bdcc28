"""Random dropping of uninformative words in training (method.md, DMAE 3).

A video's captions together are one document. Words are weighed by TF-IDF over all documents (smoothed, unit norm, as
in scikit-learn); a caption may lose some of its video's least telling words, at most half of its own.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Sequence

MAX_DROPPABLE = 5
WEIGHT_LIMIT = 0.1

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


class WordDropper:
    """Drops words from captions.

    Args:
        captions: of each video, its captions.
        max_droppable: how many of a video's words may ever be dropped, the least telling first.
        weight_limit: only words of a lower TF-IDF weight are.
    """

    def __init__(
        self,
        captions: Sequence[Sequence[str]],
        *,
        max_droppable: int = MAX_DROPPABLE,
        weight_limit: float = WEIGHT_LIMIT,
    ):
        counts = [Counter(word for caption in texts for word in words_of(caption)) for texts in captions]
        frequency = Counter(word for count in counts for word in count)
        self.idf = {word: math.log((1 + len(counts)) / (1 + seen)) + 1 for word, seen in frequency.items()}
        self.droppable = [self._least_telling(count, max_droppable, weight_limit) for count in counts]

    def drop(self, video: int, caption: str, rng: random.Random) -> str:
        """`caption` of video number `video` without a random selection of its droppable words, at most half of all."""
        matches = list(WORD.finditer(caption))
        candidates = [match for match in matches if match.group().lower() in self.droppable[video]]
        most = min(len(candidates), len(matches) // 2)
        dropped = rng.sample(candidates, rng.randint(0, most))
        for match in sorted(dropped, key=re.Match.start, reverse=True):
            caption = caption[: match.start()] + caption[match.end() :]
        return " ".join(caption.split())

    def _least_telling(self, count: Counter, most: int, limit: float) -> frozenset[str]:
        weights = tf_idf(count, self.idf)
        ranked = sorted(weights, key=lambda word: (weights[word], word))[:most]
        return frozenset(word for word in ranked if weights[word] < limit)


def words_of(text: str) -> list[str]:
    return WORD.findall(text.lower())


def tf_idf(count: Counter, idf: dict[str, float]) -> dict[str, float]:
    """Weights of the words of one document, with unit norm over it."""
    weights = {word: times * idf[word] for word, times in count.items()}
    norm = math.sqrt(sum(weight * weight for weight in weights.values()))
    return {word: weight / norm for word, weight in weights.items()}
