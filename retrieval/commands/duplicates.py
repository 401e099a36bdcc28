"""`dmae duplicates`: which videos of an index show the same, in whole or in part."""

import argparse
import json

from dmae.modeling.errors import printable

from ..times import span_clock
from .arguments import add_index, storage_options


def configure(parser: argparse.ArgumentParser) -> None:
    add_index(parser)
    parser.add_argument(
        "--above", type=float, default=0.95, metavar="COSINE", help="from which two frames are alike (default: 0.95)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, a list of groups")


def run(args: argparse.Namespace) -> int:
    from ..duplicates.finding import find_duplicates
    from ..storage.table import VideoTable

    table = VideoTable.open(args.index, read_only=True, storage_options=storage_options(args))
    groups = find_duplicates(table, args.above)
    if args.json:
        print(printable(json.dumps([[copy.to_dict() for copy in group] for group in groups], ensure_ascii=False)))
        return 0
    for group in groups:
        first, *copies = group
        print(printable(first.path or first.id))
        for copy in copies:
            part = span_clock(copy.start, copy.end)
            whole = not part or (copy.start, copy.end) == (first.start, first.end)
            print(f"    {printable(copy.path or copy.id)}" + ("" if whole else f"  ({part} of it)"))
    copies = sum(len(group) - 1 for group in groups)
    print(f"{table.uri}: {copies} copies of {len(groups)} videos" if groups else f"{table.uri}: no duplicates")
    return 0
