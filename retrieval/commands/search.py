"""`dmae search QUERY`: finds videos by a text, or more like an image or a video; without a query, line after line."""

import argparse
import hashlib
import json
import math
import sys
from pathlib import Path

from dmae.modeling.errors import InputError, printable
from dmae.modeling.written_files import check_writable, writing

from ..inputs import as_unicode, check_confidence, check_number
from ..media import check_example
from ..times import clock, span_clock
from .arguments import add_index, add_model, load_model, storage_options

PARTS = {"or": "alternatives", "and": "also", "like": "like", "without": "without"}  # option: argument of `search`


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "query",
        metavar="QUERY",
        nargs="?",
        help="a text, or the path of an image or a video; without one, on a terminal, queries are asked for",
    )
    add_model(parser, required=False)
    add_index(parser, required=False)
    parser.add_argument(
        "--server", metavar="URL", help="ask this running `dmae serve`, or search service on Ray, in place of an index"
    )
    parts = {
        "or": "a text, image or video that does as well",
        "and": "a text that must match too",
        "like": "an image or video that must match too",
        "without": "what pushes a video down that shows it",
    }
    for name, what in parts.items():
        parser.add_argument(
            f"--{name}", action="append", metavar="PART", dest=PARTS[name], help=f"{what} (repeatable)"
        )
    parser.add_argument("-k", type=int, default=10, help="results wanted (default: 10)")
    parser.add_argument("--offset", type=int, default=0, help="results to skip, for paging")
    parser.add_argument("--where", metavar="FILTER", help="filter such as \"duration < 60 AND category = 'food'\"")
    parser.add_argument("--min-score", type=float, help="leave out results below this score")
    parser.add_argument(
        "--min-confidence", type=float, metavar="C", help="leave out results less sure than this, from 0 to 1"
    )
    parser.add_argument(
        "--distinct", type=float, nargs="?", const=0.95, metavar="COSINE", help="leave out copies of better results"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the results as a self-contained page")
    parser.add_argument("--thumbnails", type=Path, metavar="FOLDER", help="write thumbnails there and name them")
    parser.add_argument("--every-span", action="store_true", help="list every matching span, not one per video")
    parser.add_argument("--cut", type=Path, metavar="FOLDER", help="write each result's span there as a video file")
    parser.add_argument("--padding", type=float, default=0.0, metavar="S", help="seconds before and after each cut")
    parser.add_argument("--timeline", type=Path, metavar="FILE", help="write the spans as FILE.otio, .edl or .csv")
    parser.add_argument("--json", action="store_true", help="print the results as JSON, best first")


def run(args: argparse.Namespace) -> int:
    check_number("--min-score", args.min_score)
    check_confidence("--min-confidence", args.min_confidence)
    if args.server is not None:
        from .remote import search_server

        return search_server(args)
    _check_wanted(args)
    from ..storage.table import VideoTable

    VideoTable.open(args.index, storage_options=storage_options(args))  # a missing index is told before a model loads
    if args.timeline:
        from ..sharing.edit_lists import check_timeline

        check_timeline(args.timeline)
    from ..index import VideoIndex

    model, processor = load_model(args)
    index = VideoIndex.open(args.index, model, processor, read_only=True, storage_options=storage_options(args))
    parts, limits = search_options(args)
    if args.query is None:
        from .prompt import Conversation, converse

        return converse(Conversation(index, parts, limits, args.k, args.padding))
    hits = index.search(args.query, args.k, **limits, **parts)
    pictures = index.thumbnails_of(hits) if args.html or args.thumbnails else {}
    if args.html:
        from ..sharing.html_report import html_report

        page = html_report(as_unicode(args.query), hits, pictures, offset=args.offset)
        with writing("--html", args.html):
            args.html.write_text(page, encoding="utf-8")
    files = {}
    if args.thumbnails:
        with writing("--thumbnails", args.thumbnails):
            files = write_thumbnails(args.thumbnails, pictures)
    clips = _cut(hits, args) if args.cut else None
    if args.timeline:
        from ..sharing.edit_lists import write_timeline

        with writing("--timeline", args.timeline):
            write_timeline(hits, args.timeline, as_unicode(args.query))
    if args.json:
        found = [hit.to_dict() | ({"thumbnail": files.get(hit.id)} if args.thumbnails else {}) for hit in hits]
        for entry, clip in zip(found, clips or []):
            entry["clip"] = str(clip)
        print(printable(json.dumps(found, ensure_ascii=False)))
    else:
        print_hits(args.query, hits, args.offset, files, only_sure=args.min_confidence is not None)
        for clip in clips or []:
            print(printable(str(clip)))
    return 0


def _check_wanted(args: argparse.Namespace) -> None:
    """Refuses a call that lacks what it needs, before anything is loaded."""
    missing = [f"--{name}" for name in ("model", "index") if getattr(args, name) is None]
    if missing:
        raise InputError(f"{' and '.join(missing)} missing: name the model and its index, or a --server to ask")
    _check_parts(args)
    if args.html:
        check_writable("--html", args.html)
    if args.thumbnails:
        check_writable("--thumbnails", args.thumbnails, folder=True)
    if args.cut:
        check_writable("--cut", args.cut, folder=True)
    if not 0 <= args.padding < math.inf:
        raise InputError(f"--padding is in seconds, from 0 on, not {args.padding}")
    if args.query is not None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("no query: give one as QUERY; without one they are asked for on a terminal, and this is none")
    for name in ("json", "html", "thumbnails", "cut", "timeline"):
        if getattr(args, name):
            raise InputError(f"--{name} belongs to one query: give QUERY too, or leave it out")


def _check_parts(args: argparse.Namespace) -> None:
    for option, argument in PARTS.items():
        if any(not part.strip() for part in getattr(args, argument) or ()):
            raise InputError(f"--{option} is empty: leave it out, or write what it is")
    for part in args.like or ():
        check_example(part)


def search_options(args: argparse.Namespace) -> tuple[dict, dict]:
    """Arguments of `VideoIndex.search`: the further parts of each query, and what limits its answers."""
    parts = {name: getattr(args, name) for name in PARTS.values()}
    limits = {name: getattr(args, name) for name in ("offset", "where", "min_score", "min_confidence", "distinct")}
    return parts, limits | {"per_video": not args.every_span}


def _cut(hits, args: argparse.Namespace) -> list[Path]:
    from ..sharing.clips import cut_hits

    return cut_hits(hits, args.cut, padding=args.padding)


def write_thumbnails(folder: Path, pictures: dict[str, bytes]) -> dict[str, str]:
    """Writes JPEG files named by a digest of the id, which may hold anything, and returns their paths by id."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for video_id, jpeg in pictures.items():
        path = folder / f"{hashlib.blake2b(video_id.encode(), digest_size=8).hexdigest()}.jpg"
        path.write_bytes(jpeg)
        files[video_id] = str(path)
    return files


def print_hits(query: str, hits, offset: int, thumbnails: dict[str, str], *, only_sure: bool = False) -> None:
    """A table of hits, a row each; `only_sure`: those in doubt were left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not hits:
        print(f"nothing here matches {query!r} well" if only_sure else f"nothing found for {query!r}")
        return
    table = Table(title=Text(printable(query)))
    for name in ("", "score", "sure", "span", "best moment", "length"):
        table.add_column(name, justify="right")
    for name in ("video", *(("thumbnail",) if thumbnails else ())):
        table.add_column(name, overflow="fold")
    for rank, hit in enumerate(hits, start=offset + 1):
        sure = "" if hit.confidence is None else f"{hit.confidence:.0%}"
        times = span_clock(hit.start, hit.end), clock(hit.best_time), clock(hit.duration)
        table.add_row(
            str(rank),
            f"{hit.score:.3f}",
            sure,
            *times,
            Text(printable(hit.path or hit.id)),
            *([Text(thumbnails.get(hit.id, ""))] if thumbnails else []),
        )
    Console().print(table)
