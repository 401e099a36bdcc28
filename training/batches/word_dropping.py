"""Random dropping of uninformative words in training (method.md, DMAE 3), by the rule of the authors' release.

A video's captions together give weights to its words. The release has them from jieba, whose table knows no English
word: every one has the median inverse document frequency, so a weight is a word's share of the text times that number.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence

MAX_DROPPABLE = 5
WEIGHT_LIMIT = 0.1

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Of jieba 0.42.1: the words that its extractor leaves out, how many it gives, and the median of its table.
STOP_WORDS = frozenset(
    [
        *("all", "an", "and", "are", "as", "at", "be", "by", "can", "for", "from", "has", "have", "if", "in", "is"),
        *("it", "not", "of", "on", "one", "or", "that", "the", "then", "this", "to", "we", "which", "with", "you"),
    ]
)
MOST_KEYWORDS = 200
MEDIAN_IDF = 11.9547675029


class WordDropper:
    """Drops words from captions.

    Args:
        captions: of each video, its captions.
        max_droppable: how many of a caption's words may go, those that weigh least first.
        weight_limit: only words that weigh less may.
    """

    def __init__(
        self,
        captions: Sequence[Sequence[str]],
        *,
        max_droppable: int = MAX_DROPPABLE,
        weight_limit: float = WEIGHT_LIMIT,
    ):
        self.weights = [keyword_weights(texts) for texts in captions]
        self.max_droppable, self.weight_limit = max_droppable, weight_limit

    def drop(self, video: int, caption: str, rng: random.Random) -> str:
        """`caption` of video number `video` without some of its least telling words.

        A random number of the droppable words is drawn, at most half as many as the caption has; a word that is drawn
        goes wherever it stands. A caption of which nothing would be left stays as it is.
        """
        words = words_of(caption)
        droppable = self.droppable(video, words)
        drawn = set(rng.sample(droppable, rng.randint(0, min(len(droppable), len(words) // 2))))
        if not drawn or drawn.issuperset(words):
            return caption
        left = WORD.sub(lambda match: "" if match.group().lower() in drawn else match.group(), caption)
        return " ".join(left.split())

    def droppable(self, video: int, words: Sequence[str]) -> list[str]:
        """Those of a caption's words that may go; the extractor's stop words and single letters weigh nothing."""
        weights = self.weights[video]
        lightest = sorted(words, key=lambda word: weights.get(word, 0.0))[: self.max_droppable]
        return [word for word in lightest if weights.get(word, 0.0) < self.weight_limit]


def words_of(text: str) -> list[str]:
    return WORD.findall(text.lower())


def keyword_weights(captions: Sequence[str]) -> dict[str, float]:
    """The weights of one video's words, the heaviest first; what is not in it weighs nothing."""
    words = (word for caption in captions for word in words_of(caption))
    counts = Counter(word for word in words if len(word) > 1 and word not in STOP_WORDS)
    total = counts.total()
    return {word: count / total * MEDIAN_IDF for word, count in counts.most_common(MOST_KEYWORDS)}
