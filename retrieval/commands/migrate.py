"""`dmae migrate`: brings an index of an older version to the newest format, in one commit."""

import argparse

from .arguments import add_index, as_rate, storage_options


def configure(parser: argparse.ArgumentParser) -> None:
    add_index(parser)
    parser.add_argument(
        "--frames-per-second",
        type=as_rate,
        metavar="RATE",
        help='cut long videos into segments, read at this rate or at "keyframes"; they are encoded again by the next '
        "dmae index (default: every video stays one segment)",
    )
    parser.add_argument(
        "--segment-frames", type=int, default=12, help="the most frames in a segment, the model's (default: 12)"
    )


def run(args: argparse.Namespace) -> int:
    from ..storage.migration import migrate
    from ..storage.table import VideoTable

    table = VideoTable.open(args.index, storage_options=storage_options(args))
    again = migrate(table, frames_per_second=args.frames_per_second, segment_frames=args.segment_frames)
    print(f"{table.uri}: {table.count()} videos in format {table.settings.format}")
    if again:
        print(f"{again} of them are longer than a segment: run dmae index again to cut them")
    return 0
