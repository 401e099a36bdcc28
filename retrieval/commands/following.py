"""`dmae index FOLDER --watch`: stays, and follows what happens in the folders into the index."""

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from dmae.modeling.errors import printable


def add_watching(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="stay, and follow what comes, changes and goes there")
    parser.add_argument(
        "--settle",
        type=float,
        default=2.0,
        metavar="S",
        help="with --watch: seconds without a change after which a file counts as whole (default: 2)",
    )


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
