"""How well scores over a video find its highlights, as the published evaluation of QVHighlights measures it.

Lei, Berg, Bansal: "QVHighlights: Detecting Moments and Highlights in Videos via Natural Language Queries", NeurIPS
2021, and the authors' evaluation at github.com/jayleicn/moment_detr. Each clip of two seconds was judged by three
people; it is a highlight for one of them who gave it the highest mark.
"""

from collections.abc import Sequence

import numpy as np

from dmae.modeling import InputError

VERY_GOOD = 4  # of marks from 0 to 4


def highlight_metrics(scores: Sequence[np.ndarray], saliency: Sequence[np.ndarray]) -> dict[str, float]:
    """The mean average precision of the clips of each query's video, averaged over people and then over queries; and
    HIT@1: how often the best clip is a highlight for at least one of them. Both in percent.

    Args:
        scores: for each query `(N,)`, one for each clip of its video. saliency: for each query `(N, 3)` marks.
    """
    if not len(scores):
        raise InputError("there is no query to measure: give at least one")
    highlights = [marks >= VERY_GOOD for marks in saliency]
    pairs = list(zip(scores, highlights, strict=True))
    precisions = [np.mean([average_precision(own, person) for person in marked.T]) for own, marked in pairs]
    hits = [marked[own.argmax()].any() for own, marked in pairs]
    return {"mAP": 100 * float(np.mean(precisions)), "HIT@1": 100 * float(np.mean(hits))}


def average_precision(scores: np.ndarray, right: np.ndarray) -> float:
    """The mean of the interpolated precision at each recall that is reached; 0 where nothing is right.

    Clips of equal scores are taken together.

    Args:
        scores: `(N,)`. right: `(N,)` bool.
    """
    if not right.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # of those with the same score
    found = right[order].cumsum()[last]
    precision = found / (last + 1)
    at_least = np.maximum.accumulate(precision[::-1])[::-1]  # the best at this recall or a higher one
    return float(at_least[np.diff(found, prepend=0) > 0].mean())
