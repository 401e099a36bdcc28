"""`dmae evaluate MODEL DATASET`: a table of retrieval metrics, and the same as JSON. Under a launcher,
`accelerate launch -m dmae.cli evaluate …`, all processes share the work."""

import argparse
import json
import math
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from dmae.modeling import InputError
from dmae.modeling.written_files import check_writable, writing

from ..evaluation.measures import COLUMNS, DIRECTIONS, RANKINGS, notes_on


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="folder or Hub id of a DMAE model, or of a CLIP, SigLIP, … model (zero-shot)"
    )
    parser.add_argument(
        "dataset", metavar="DATASET", help="msrvtt, msvd, didemo, activitynet, a folder, or a Hub dataset"
    )
    parser.add_argument("--split", default="test", help="default: test")
    parser.add_argument("--videos", help="folder or URL of the videos, where they are not beside their captions")
    parser.add_argument("--annotations", help="folder of a benchmark's official annotation files")
    parser.add_argument("--name", help="configuration of a Hub dataset")
    parser.add_argument(
        "--missing", choices=("error", "skip"), default="error", help="captions whose video is not there"
    )
    parser.add_argument(
        "--num-frames", type=int, help="frames per video; default: as the model was trained, zero-shot as published"
    )
    parser.add_argument("--max-words", type=int, help="tokens per text, start and end included; default: likewise")
    parser.add_argument("--sampling", choices=("midpoints", "per_second"), help="which frames; default: likewise")
    parser.add_argument(
        "--sentence-order",
        choices=("file", "time"),
        default="file",
        help="how sentences make DiDeMo's and ActivityNet's paragraphs (default: file, as in published numbers)",
    )
    parser.add_argument("--batch-size", type=int, default=16, help="videos encoded at once (default: 16)")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode videos (default: 2)")
    parser.add_argument("--device", help='"cpu", "cuda", …; default: the accelerator, where there is one')
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        help="of the model; default: bf16 on an accelerator that has it, else fp32",
    )
    earlier = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
    parser.add_argument("--dtype", dest="precision", type=lambda name: earlier.get(name, name), help=argparse.SUPPRESS)
    parser.add_argument(
        "--moments",
        action="store_true",
        help="measure the retrieval of moments in long videos instead: of didemo, activitynet, charades-sta, "
        "qvhighlights or films, with --videos and --annotations",
    )
    parser.add_argument(
        "--frames-per-second", type=float, default=1.0, help="with --moments: at which videos are read (default: 1)"
    )
    parser.add_argument(
        "--dual-softmax", action="store_true", help="also rank by dual softmax, in both ways (sees all test queries)"
    )
    parser.add_argument("--query-bank", metavar="SPLIT", help="also normalise by this split's captions (QB-Norm)")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write JSON; without FILE, print only that"
    )


def run(args: argparse.Namespace) -> int:
    from dmae.modeling import load_pretrained  # heavy libraries only when the command runs
    from dmae.modeling.precision import place, precision_of

    from ..distributed import Processes
    from ..evaluation.evaluation import encode_samples, evaluate_encoded

    for name in ("batch_size", "num_frames", "max_words"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(args, name)}")
    if args.json not in (None, "-"):
        check_writable("--json", Path(args.json).expanduser())
    started = time.monotonic()
    state = _state(args)
    processes = Processes.of(state)
    model, processor = load_pretrained(args.model)
    place(model, args.device or str(state.device), args.precision)
    settings_from = _settle(args, model, processor)
    samples, missing = _samples(args)
    bank = _captions(_listed(args, args.query_bank)) if args.query_bank else ()
    sizes = {"batch_size": args.batch_size, "workers": args.workers}
    encoded = encode_samples(model, processor, samples, **sizes, processes=processes)
    measures = {"use_dual_softmax": args.dual_softmax, "query_bank": bank}
    metrics = evaluate_encoded(model, processor, encoded, **measures, processes=processes)
    state.destroy_process_group()
    report = {
        "model": args.model,
        "dataset": args.dataset,
        "split": args.split,
        "num_frames": processor.video_processor.num_frames,
        "sampling": processor.video_processor.sampling,
        "max_words": processor.max_words,
        "precision": precision_of(model),
        "settings_from": settings_from,
        "sentence_order": args.sentence_order,
        "seconds": round(time.monotonic() - started, 1),
        "metrics": metrics,
        "missing": missing,
        "skipped": [skipped._asdict() for skipped in encoded.skipped],
    }
    if processes.main:
        _write(report, args.json)
    return 1 if encoded.skipped else 0


def _state(args: argparse.Namespace):
    """The processes of the launch, if it is one. A share whose videos are slow to decode is waited for."""
    from accelerate import PartialState

    return PartialState(cpu=args.device == "cpu", timeout=timedelta(hours=2))


def _settle(args: argparse.Namespace, model, processor) -> dict[str, str]:
    """Sets the processor's frames, words and sampling, and tells where each comes from: the command line, for a
    checkpoint of another kind the benchmark's published protocol, or the checkpoint."""
    from transformers import AutoConfig

    from dmae.modeling.encoders import ENCODERS, text_positions

    from ..corpora.benchmarks import BENCHMARKS

    zero_shot = AutoConfig.from_pretrained(args.model).model_type != model.config.model_type
    protocol = BENCHMARKS[args.dataset].protocol if zero_shot and args.dataset in BENCHMARKS else None
    most: dict[str, float] = {
        "num_frames": model.config.num_frames if model.config.temporal_layers else math.inf,
        "max_words": text_positions(ENCODERS[model.config.encoder], model.config.text_config),
    }
    places = {"num_frames": processor.video_processor, "sampling": processor.video_processor, "max_words": processor}
    origins = {}
    for name, place in places.items():
        asked, published = getattr(args, name), getattr(protocol, name, None)
        if asked is not None and asked > most.get(name, asked):
            raise InputError(f"--{name.replace('_', '-')} {asked}: {args.model} has positions for {most[name]}")
        if asked is not None or published is not None:
            wanted: Any = asked if asked is not None else published
            setattr(place, name, min(wanted, most[name]) if name in most else wanted)
        origins[name] = "command line" if asked is not None else "published protocol" if protocol else "checkpoint"
    return origins


def _samples(args: argparse.Namespace) -> tuple[list, dict]:
    """What is measured on, and what the list names beside it."""
    from ..corpora.benchmarks import BENCHMARKS
    from ..corpora.folder import without_missing
    from ..corpora.video_places import video_place

    named_by = BENCHMARKS[args.dataset].files[args.split][0] if args.dataset in BENCHMARKS else args.dataset
    samples = listed = _listed(args, args.split, "keep" if args.missing == "skip" else "error")
    if args.missing == "skip":
        samples = without_missing(listed, named_by, video_place(args.videos or args.dataset), "skip")
    found = {sample.video_id for sample in samples}
    absent = [sample.video_id for sample in listed if sample.video_id not in found]
    return samples, {"list": named_by, "listed": len(listed), "videos": absent}


def _listed(args: argparse.Namespace, split: str, missing: str = "keep") -> list:
    from ..corpora import load_samples  # heavy libraries only when the command runs

    source = {name: getattr(args, name) for name in ("videos", "annotations", "name", "sentence_order")}
    return load_samples(args.dataset, split, missing=missing, **source)


def _captions(samples) -> list[str]:
    return [caption for sample in samples for caption in sample.captions]


def _write(report: dict, destination: str | None) -> None:
    text = json.dumps(report, indent=2, ensure_ascii=False)
    if destination == "-":
        print(text)
        return
    if destination:
        with writing("--json", destination):
            Path(destination).expanduser().write_text(text + "\n", encoding="utf-8")
    print_report(report)


def print_report(report: dict) -> None:
    """The report as tables: a row for each direction and way of ranking, then hard negatives by kind."""
    from rich.console import Console
    from rich.table import Table

    console, metrics = Console(), report["metrics"]
    counts = f"{metrics['num_videos']} videos, {metrics['num_texts']} texts"
    left_out = f", {metrics['num_skipped']} videos left out" if report["skipped"] else ""
    print(f"{report['model']} on {report['dataset']}, {report['split']}: {counts}{left_out}")
    missing = report["missing"]
    if missing["videos"]:
        print(f"{len(missing['videos'])} of the {missing['listed']} videos that {missing['list']} names are missing")
    origins = report["settings_from"]
    print(
        f"frames per video: {report['num_frames']} ({origins['num_frames']}), {report['sampling']} "
        f"({origins['sampling']}); tokens per text: at most {report['max_words']} ({origins['max_words']})"
    )
    table = Table("search")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for prefix, ranking in RANKINGS.items():
        for direction, words in DIRECTIONS.items():
            if f"{prefix}{direction}_R@1" in metrics:
                values = (f"{metrics[f'{prefix}{direction}_{column}']:.1f}" for column in COLUMNS)
                table.add_row(words + ranking, *values)
    console.print(table)
    for note in notes_on(metrics):
        print(note)
    accuracies = {name: value for name, value in metrics.items() if name.startswith("hard_negative_accuracy")}
    if accuracies:
        print("How often the right caption scores above one that is wrong in one thing:")
        table = Table("hard negatives", "accuracy %")
        for name, value in accuracies.items():
            table.add_row(name.partition("/")[2] or "all", f"{value:.1f}")
        console.print(table)
