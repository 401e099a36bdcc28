"""Hits as a timeline that an editing program opens: OpenTimelineIO, EDL, or a table."""

import csv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import VideoIndexError
from ..search.searcher import SearchHit

COLUMNS = ("rank", "id", "path", "start", "end", "best_time", "score")
RATE = 25.0  # of the frames in which a timeline counts
SUFFIXES = (".otio", ".edl", ".csv")


def check_timeline(path: Path) -> None:
    """Raises a `VideoIndexError` where such a file cannot be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise VideoIndexError(f"a timeline ends in {', '.join(SUFFIXES)}, not {path.name!r}")
    if not path.parent.is_dir():
        raise VideoIndexError(
            f"the timeline {path} cannot be written: there is no folder {path.parent}, make it first"
        )
    if path.suffix.lower() == ".csv":
        return
    wanted = ["opentimelineio", *(["otio_cmx3600_adapter"] if path.suffix.lower() == ".edl" else [])]
    if any(find_spec(name) is None for name in wanted):
        raise VideoIndexError("to write a timeline, install OpenTimelineIO: pip install 'dmae-video-search[timeline]'")


def write_timeline(hits: Sequence[SearchHit], path: Path, name: str) -> None:
    """Writes the spans of hits one after another, best first.

    Args:
        path: ending in .otio, .edl or .csv. name: of the timeline, such as the query.

    Raises:
        VideoIndexError: another ending, no such folder, or OpenTimelineIO is not installed.
    """
    check_timeline(path)
    spans = [(hit, hit.start, hit.end) for hit in hits if hit.start is not None and hit.end is not None]
    if path.suffix.lower() == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for rank, (hit, _, _) in enumerate(spans, 1):
                writer.writerow([rank, *(getattr(hit, column) for column in COLUMNS[1:])])
        return
    import opentimelineio as otio

    timeline = otio.schema.Timeline(name=name)
    track = otio.schema.Track(name="hits", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    for hit, start, end in spans:
        track.append(
            otio.schema.Clip(
                name=hit.id,
                media_reference=otio.schema.ExternalReference(
                    target_url=hit.path or hit.id, available_range=_range(otio, 0.0, hit.duration or end)
                ),
                source_range=_range(otio, start, end),
                metadata={"dmae": {"score": hit.score, "best_time": hit.best_time}},
            )
        )
    rate = {"rate": RATE} if path.suffix.lower() == ".edl" else {}
    otio.adapters.write_to_file(timeline, str(path), **rate)


def _range(otio, start: float, end: float):
    first, last = round(start * RATE), max(round(end * RATE), round(start * RATE) + 1)
    return otio.opentime.TimeRange(
        otio.opentime.RationalTime(first, RATE), otio.opentime.RationalTime(last - first, RATE)
    )
