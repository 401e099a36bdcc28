"""How well spans found for a query cover the spans that people marked: R@k at an overlap, mean overlap, and mAP."""

from collections.abc import Sequence

import numpy as np

from dmae.modeling import InputError

Interval = tuple[float, float]
LEVELS = (0.3, 0.5, 0.7)
RANKS = (1, 5)
PRECISION_LEVELS = tuple(percent / 100 for percent in range(50, 100, 5))
PRECISION_SPANS = 10  # found for a query that mAP looks at


def interval_iou(a: Interval, b: Interval) -> float:
    """Intersection over union of two spans of one video, in seconds."""
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = max(a[1], b[1]) - min(a[0], b[0])
    return shared / union if union > 0 else float(a == b)


def moment_metrics(overlaps: Sequence[np.ndarray]) -> dict[str, float]:
    """R@1 and R@5 at IoU 0.3, 0.5 and 0.7, the mean IoU of the best span, and the mean average precision over the IoUs
    0.5, 0.55, …, 0.95 and at two of them, all in percent.

    Args:
        overlaps: for each query the `(P, S)` IoU of the P spans found for it, best first, with each of the S that were
            marked; 0 for a span of another video.
    """
    if not len(overlaps):
        raise InputError("there is no query to measure: give at least one")
    found = np.zeros((len(overlaps), max(RANKS)))
    for row, own in enumerate(overlaps):
        best = own[: max(RANKS)].max(axis=1, initial=0.0)
        found[row, : len(best)] = best
    metrics = {
        f"R@{rank} IoU {level}": 100 * float((found[:, :rank].max(axis=1) >= level).mean())
        for rank in RANKS
        for level in LEVELS
    }
    precisions = {
        level: 100 * float(np.mean([average_precision(own, level) for own in overlaps])) for level in PRECISION_LEVELS
    }
    return {
        **metrics,
        "mIoU": 100 * float(found[:, 0].mean()),
        "mAP": float(np.mean(list(precisions.values()))),
        "mAP IoU 0.5": precisions[0.5],
        "mAP IoU 0.75": precisions[0.75],
    }


def average_precision(overlaps: np.ndarray, level: float) -> float:
    """The interpolated average precision of spans (as PASCAL VOC has it since 2011), from 0 to 1.

    Each span found is right where it overlaps a marked one by at least `level` that no better span was given yet, as
    in the published evaluation of QVHighlights (Lei, Berg, Bansal: "QVHighlights", NeurIPS 2021).

    Args:
        overlaps: `(P, S)` of one query, as for `moment_metrics`.
    """
    overlaps = overlaps[:PRECISION_SPANS]
    free = np.ones(overlaps.shape[1], bool)
    right = np.zeros(len(overlaps), bool)
    for row, own in enumerate(overlaps):
        own = np.where(free & (own >= level), own, 0.0)
        right[row] = own.any()
        if right[row]:
            free[own.argmax()] = False
    if not right.any():
        return 0.0
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    at_least = np.maximum.accumulate(precision[::-1])[::-1]  # the best at this recall or a higher one
    return float(at_least[right].sum() / len(free))
