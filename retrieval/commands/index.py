"""`dmae index FOLDER`: makes a folder of videos searchable; run again, it brings the index up to date.

With `--watch` it stays, and follows what happens in the folders into the index.
"""

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from dmae.modeling.errors import printable

from ..errors import VideoIndexError
from .arguments import add_index, add_model, as_rate, key_values, load_model, storage_options

WAIT_FOR_INDEX = 600  # seconds that the other processes of a launch wait for the first to create the index


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="SOURCE",
        help="folder, video file, URL (s3://, gs://, hf://datasets/owner/name, https://), dataset of the Hub "
        "(owner/name) or a .txt file that lists paths and URLs",
    )
    add_model(parser)
    add_index(parser)
    parser.add_argument(
        "--source-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the store that URLs lead to, as fsspec takes it, such as endpoint_url=http://localhost:9000 "
        "(repeatable)",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "int8"), default="float16", help="storage of a new index"
    )
    parser.add_argument(
        "--merge-above", type=float, metavar="COSINE", help="new index: merge neighbouring frames this alike"
    )
    parser.add_argument(
        "--frames-per-second",
        type=as_rate,
        default=1.0,
        metavar="RATE",
        help='new index: read long videos at this rate (default: 1), or at their "keyframes", and cut them into '
        'segments; "whole": every video is one segment',
    )
    parser.add_argument("--batch-size", type=int, default=8, help="videos encoded at once (default: 8)")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode videos (default: 2)")
    parser.add_argument("--commit-every", type=int, default=256, help="videos in a commit (default: 256)")
    parser.add_argument("--prune", action="store_true", help="remove videos whose file has vanished")
    parser.add_argument(
        "--prune-empty", action="store_true", help="with --prune: also where a folder holds no video at all any more"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try files again whose content was bad before")
    parser.add_argument("--strict", action="store_true", help="end with status 1 where anything could not be read")
    parser.add_argument(
        "--ray",
        nargs="?",
        const=True,
        default=False,
        metavar="ADDRESS",
        help="encode on the Ray cluster at this address (HOST:PORT), or on the one that this machine belongs to",
    )
    parser.add_argument("--encoders", type=int, metavar="N", help="with --ray: encoders (default: as many as fit)")
    parser.add_argument("--watch", action="store_true", help="stay, and follow what comes, changes and goes there")
    parser.add_argument(
        "--settle",
        type=float,
        default=2.0,
        metavar="S",
        help="with --watch: seconds without a change after which a file counts as whole (default: 2)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from ..indexing.ray_cluster import check_cluster
    from ..indexing.report import AddOptions
    from ..indexing.sources import find_sources
    from ..storage.table import VideoTable

    options = {
        name: getattr(args, name)
        for name in ("prune", "prune_empty", "retry_failed", "batch_size", "workers", "commit_every")
    }
    options["source_options"] = key_values("--source-option", args.source_option)
    where = {"ray": args.ray, "encoders": args.encoders}
    # What cannot be is told before a model is loaded or an index made.
    AddOptions(**options)
    if args.ray:
        check_cluster(None if args.ray is True else args.ray, args.encoders)
    elif args.encoders is not None:
        raise VideoIndexError("--encoders goes with --ray: --workers is for this machine's decoding")
    if args.watch:
        folders_of(args)
    find_sources(args.videos, options["source_options"])
    if VideoTable.exists(args.index, storage_options(args)):
        VideoTable.open(args.index, storage_options=storage_options(args))
    index = _open_or_create(args, *load_model(args))
    if args.watch:
        return follow(args, index, options | where)
    report = index.add(args.videos if len(args.videos) > 1 else args.videos[0], **options, **where)
    if args.json:
        done = {"index": index.uri, "videos": len(index), **asdict(report)}
        print(printable(json.dumps(done, ensure_ascii=False)))
    else:
        print_report(index, report)
    return 1 if args.strict and report.failed else 0


def _open_or_create(args: argparse.Namespace, model, processor):
    """The index at its URI. Of several processes the first creates it, the others wait."""
    from ..index import VideoIndex
    from ..indexing.report import AddOptions
    from ..storage.table import VideoTable

    options = storage_options(args)
    deadline = time.monotonic() + WAIT_FOR_INDEX
    while not VideoTable.exists(args.index, options):
        if AddOptions().rank == 0:
            settings = {"dtype": args.dtype, "merge_above": args.merge_above}
            settings["frames_per_second"] = args.frames_per_second
            return VideoIndex.create(args.index, model, processor, storage_options=options, **settings)
        if time.monotonic() > deadline:
            raise VideoIndexError(
                f"no index at {args.index} after {WAIT_FOR_INDEX} s: the first process has not created it"
            )
        time.sleep(0.5)
    return VideoIndex.open(args.index, model, processor, storage_options=options)


def print_report(index, report) -> None:
    """What was done, then every file that was not as it should be or could not be read."""
    unchanged = f"{report.unchanged} unchanged" + (f" ({len(report.moved)} of them moved)" if report.moved else "")
    done = f"{report.added} added, {report.updated} updated, {unchanged}, {report.removed} removed"
    print(f"{index.uri}: {len(index)} videos ({done}, {len(report.failed)} failed) in {report.seconds:.1f} s")
    if len(report.vanished) > report.removed:
        print(f"{len(report.vanished)} videos have vanished from disk; --prune removes them from the index")
    for path, line in report.warnings:
        print(printable(f"warning: {path}: {line}"), file=sys.stderr)
    for path, reason in report.failed:
        print(printable(f"failed: {path}: {reason}"), file=sys.stderr)
    if report.not_retried:
        print(f"{report.not_retried} of them failed before and were not tried again (--retry-failed)", file=sys.stderr)
    if report.unseen:
        print(f"{len(report.unseen)} videos that could not be looked for stay in the index", file=sys.stderr)


def folders_of(args: argparse.Namespace) -> list[Path]:
    """The folders to follow; raises where they, or what it takes to follow them, are not there."""
    from ..watching import check_watching

    folders = [Path(os.path.abspath(os.path.expanduser(folder))) for folder in args.videos]
    check_watching(folders, args.settle)
    return folders


def follow(args: argparse.Namespace, index, options: dict) -> int:
    """Follows until told to stop, which is how it is meant to end."""
    from ..watching import FolderWatch, Followed

    def tell(done: Followed) -> None:
        line = json.dumps(asdict(done), ensure_ascii=False) if args.json else f"{time.strftime('%H:%M:%S')} {done}"
        print(printable(line), flush=True)

    folders = folders_of(args)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(f"following {', '.join(map(str, folders))}", file=sys.stderr, flush=True)
        FolderWatch(index, folders, tell, settle=args.settle, **options).run()
    except KeyboardInterrupt:
        print(f"stopped: {len(index)} videos", file=sys.stderr)
    return 0
