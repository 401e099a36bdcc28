"""`dmae search QUERY`: finds videos by a text, or more like an image or a video."""

import argparse
import json
from types import SimpleNamespace

from .arguments import add_index, add_model, load_model, storage_options

HELP = "find videos by a text, or more like an image or a video"
EXAMPLE = 'dmae search "a dog on a skateboard" --model openai/clip-vit-base-patch32 --index clips.index -k 5'


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", metavar="QUERY", help="a text, or the path of an image or a video")
    add_model(parser)
    add_index(parser)
    parser.add_argument("-k", type=int, default=10, help="results wanted (default: 10)")
    parser.add_argument("--offset", type=int, default=0, help="results to skip, for paging")
    parser.add_argument("--where", metavar="FILTER", help="filter such as \"duration < 60 AND category = 'food'\"")
    parser.add_argument("--min-score", type=float, help="leave out results below this score")
    parser.add_argument("--json", action="store_true", help="print the results as JSON, best first")


def run(args: argparse.Namespace) -> int:
    from ..index import VideoIndex

    model, processor = load_model(args)
    index = VideoIndex.open(args.index, model, processor, read_only=True, storage_options=storage_options(args))
    hits = index.search(args.query, k=args.k, offset=args.offset, where=args.where, min_score=args.min_score)
    if args.json:
        print(json.dumps([hit.to_dict() for hit in hits], ensure_ascii=False))
    else:
        print_hits(args.query, hits, args.offset)
    return 0


def print_hits(query: str, hits, offset: int) -> None:
    """A table of hits, a row each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not hits:
        print(f"nothing found for {query!r}")
        return
    table = Table(title=Text(query))
    for name, justify in (
        ("", "right"),
        ("score", "right"),
        ("best moment", "right"),
        ("length", "right"),
        ("video", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")
    for rank, hit in enumerate(hits, start=offset + 1):
        cells = str(rank), f"{hit.score:.3f}", clock(hit.best_time), clock(hit.duration), Text(hit.path or hit.id)
        table.add_row(*cells)
    Console().print(table)


def clock(seconds: float | None) -> str:
    """Seconds as `mm:ss`, or `h:mm:ss` from an hour on.

    >>> clock(75.4), clock(3661), clock(None)
    ('01:15', '1:01:01', '')
    """
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


command = SimpleNamespace(help=HELP, example=EXAMPLE, configure=configure, run=run)
