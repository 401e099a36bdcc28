"""`dmae delete ID …`: removes videos from an index; their files stay."""

import argparse
import sys

from .arguments import add_index, storage_options


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID", help="ids, as `dmae search --json` prints them")
    add_index(parser)


def run(args: argparse.Namespace) -> int:
    from ..inputs import check_ids
    from ..storage.table import VideoTable

    table = VideoTable.open(args.index, storage_options=storage_options(args))
    ids = check_ids(args.ids, distinct=False)
    known = set(table.videos(["id"], ids)["id"].to_pylist())
    unknown = [video_id for video_id in ids if video_id not in known]
    print(f"{table.uri}: {table.delete(ids)} deleted, {table.count()} left")
    if unknown:
        print(f"not in the index: {', '.join(unknown)} (`dmae search --json` prints ids)", file=sys.stderr)
    return 1 if unknown else 0
