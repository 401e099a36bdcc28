"""`dmae stats`: what an index holds and how it is searched."""

import argparse
import json

from dmae.modeling.errors import printable

from .arguments import add_index, storage_options


def configure(parser: argparse.ArgumentParser) -> None:
    add_index(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from ..search.limits import SearchLimits, statistics
    from ..storage.table import VideoTable

    table = VideoTable.open(args.index, read_only=True, storage_options=storage_options(args))
    stats = statistics(table, SearchLimits())
    if args.json:
        print(printable(json.dumps(stats, ensure_ascii=False)))
        return 0
    for name, value in stats.items():
        print(printable(f"{name:16} {_plain(value)}"))
    return 0


def _plain(value) -> str:
    if isinstance(value, dict):
        return f"{value['name'] or 'unnamed'} {value['fingerprint'][:12]}".strip()
    return ", ".join(value) if isinstance(value, list) else str(value)
