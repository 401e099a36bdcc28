"""How well spans found for a query cover the spans that people marked: R@k at an overlap, and mean overlap."""

from collections.abc import Sequence

import numpy as np

from dmae.modeling import InputError

Interval = tuple[float, float]
LEVELS = (0.3, 0.5, 0.7)
RANKS = (1, 5)


def interval_iou(a: Interval, b: Interval) -> float:
    """Intersection over union of two spans of one video, in seconds."""
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = max(a[1], b[1]) - min(a[0], b[0])
    return shared / union if union > 0 else float(a == b)


def moment_metrics(overlaps: Sequence[Sequence[float]]) -> dict[str, float]:
    """R@1 and R@5 at IoU 0.3, 0.5 and 0.7 and the mean IoU of the best span, all in percent.

    Args:
        overlaps: for each query the IoU of the spans found for it with what was marked, best span first; 0 for a span
            of another video. Fewer than five are taken as they are.
    """
    if not len(overlaps):
        raise InputError("there is no query to measure: give at least one")
    found = np.zeros((len(overlaps), max(RANKS)))
    for row, own in enumerate(overlaps):
        found[row, : len(own[: max(RANKS)])] = own[: max(RANKS)]
    metrics = {
        f"R@{rank} IoU {level}": 100 * float((found[:, :rank].max(axis=1) >= level).mean())
        for rank in RANKS
        for level in LEVELS
    }
    return {**metrics, "mIoU": 100 * float(found[:, 0].mean())}
