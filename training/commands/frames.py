"""`dmae frames SRC DEST`: a corpus decoded once, for all training runs. Under a launcher,
`accelerate launch -m dmae.cli frames …`, all processes share the work."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from datetime import timedelta

from dmae.modeling.errors import printable
from dmae.modeling.written_files import check_writable

from ..batches.cache_settings import CacheSettings


def configure(parser: argparse.ArgumentParser) -> None:
    defaults = CacheSettings()
    parser.add_argument("source", metavar="SRC", help="folder, benchmark name or Hub id, as `dmae train` takes it")
    parser.add_argument("destination", metavar="DEST", help="folder of the frame cache; made, or gone on with")
    parser.add_argument("--split", default="train", help="split to decode, one per cache (default: %(default)s)")
    parser.add_argument("--videos", help="folder or URL of the videos, where they do not lie beside their table")
    parser.add_argument("--annotations", help="folder of a benchmark's annotation files")
    parser.add_argument(
        "--missing", choices=("error", "skip"), default="error", help="captions whose video is not there"
    )
    parser.add_argument(
        "--candidates",
        type=int,
        metavar="N",
        help="frames kept of each segment, to draw one from (default: 3, with per_second 1)",
    )
    for name in ("num_frames", "size"):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=int, default=getattr(defaults, name), help="default: %(default)s")
    parser.add_argument("--sampling", choices=("midpoints", "per_second"), default=defaults.sampling)
    parser.add_argument(
        "--squash", action="store_true", help="resize whole pictures to squares, for SigLIP, instead of cropping them"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="decoding processes")
    parser.add_argument("--strict", action="store_true", help="end with status 1 where a video cannot be read")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from accelerate import PartialState

    from ..batches.frames import write_frame_cache
    from ..corpora import load_samples
    from ..distributed import Processes

    candidates = args.candidates
    if candidates is None:
        candidates = 1 if args.sampling == "per_second" else CacheSettings.candidates
    settings = CacheSettings(args.num_frames, candidates, args.size, args.sampling, args.squash)
    places = {"videos": args.videos, "annotations": args.annotations, "missing": args.missing}
    check_writable("DEST", args.destination, folder=True)
    samples = load_samples(args.source, args.split, **places)
    # No GPU is needed, and a process that is done waits as long as another decodes.
    state = PartialState(cpu=True, timeout=timedelta(days=30))
    processes = Processes.of(state)
    report = write_frame_cache(samples, args.destination, settings, workers=args.workers, processes=processes)
    state.destroy_process_group()
    if not processes.main:
        return 1 if args.strict and report.failed else 0
    if args.json:
        print(printable(json.dumps(asdict(report), ensure_ascii=False)))
    else:
        print(f"{args.destination}: {report.added} videos added, {report.present} were there", end="")
        print(f", {len(report.failed)} cannot be read" if report.failed else "")
        for reason in report.failed.values():
            print(printable(reason), file=sys.stderr)
    return 1 if args.strict and report.failed else 0
