"""Spans of videos that match a query."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """A span of a video.

    Attributes:
        start, end: in seconds, None where unknown.
        best_time: time in seconds of its best frame, None where unknown.
        score: the DMAE similarity of the query and its best segment.
    """

    start: float | None
    end: float | None
    best_time: float | None
    score: float

    def to_dict(self) -> dict:
        """The span as JSON values."""
        return {
            "start": rounded(self.start),
            "end": rounded(self.end),
            "best_time": rounded(self.best_time),
            "score": round(self.score, 6),
        }


def rounded(seconds: float | None) -> float | None:
    """To the millisecond."""
    return None if seconds is None else round(seconds, 3)
