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
    deleted = table.delete(ids)
    print(f"{table.uri}: {deleted} deleted, {table.count()} left")
    if deleted < len(ids):
        print(f"{len(ids) - deleted} of the ids were not in the index", file=sys.stderr)
        return 1
    return 0
