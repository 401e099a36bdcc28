"""`dmae evaluate MODEL DATASET`: a table of retrieval metrics, and the same as JSON."""

import argparse
import json
import math
import time
from pathlib import Path

DIRECTIONS = {"t2v": "text to video", "v2t": "video to text"}
COLUMNS = ("R@1", "R@5", "R@10", "MdR", "MnR")
RANKINGS = {"": "", "dual_softmax/": ", dual softmax", "query_bank/": ", query bank"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="folder or Hub id of a DMAE model, or of a CLIP model (zero-shot)"
    )
    parser.add_argument(
        "dataset", metavar="DATASET", help="msrvtt, msvd, didemo, activitynet, a folder, or a Hub dataset"
    )
    parser.add_argument("--split", default="test", help="default: test")
    parser.add_argument("--videos", help="folder of the videos, where they are not beside their captions")
    parser.add_argument("--annotations", help="folder of a benchmark's official annotation files")
    parser.add_argument("--name", help="configuration of a Hub dataset")
    parser.add_argument(
        "--missing", choices=("error", "skip"), default="error", help="captions whose video is not there"
    )
    parser.add_argument("--num-frames", type=int, help="frames a video; default: as the model was trained")
    parser.add_argument("--batch-size", type=int, default=16, help="videos encoded at once (default: 16)")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode videos (default: 2)")
    parser.add_argument("--device", help='"cpu", "cuda", …; default: the accelerator, where there is one')
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: the checkpoint's")
    parser.add_argument(
        "--dual-softmax", action="store_true", help="also rank by dual softmax (sees all test queries)"
    )
    parser.add_argument("--query-bank", metavar="SPLIT", help="also normalise by this split's captions (QB-Norm)")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write JSON; without FILE, print only that"
    )


def run(args: argparse.Namespace) -> int:
    from ..corpora import load_samples
    from ..evaluation.evaluation import encode_samples, evaluate_encoded

    for name in ("batch_size", "num_frames"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(args, name)}")
    if args.json and not Path(args.json).expanduser().parent.is_dir():  # known before the work, not after it
        raise ValueError(f"--json {args.json}: there is no such folder")
    started = time.monotonic()
    model, processor = _load(args)
    source = {"videos": args.videos, "annotations": args.annotations, "name": args.name, "missing": args.missing}
    samples = load_samples(args.dataset, args.split, **source)
    bank = (
        _captions(load_samples(args.dataset, args.query_bank, **{**source, "missing": "keep"}))
        if args.query_bank
        else ()
    )
    encoded = encode_samples(model, processor, samples, batch_size=args.batch_size, workers=args.workers)
    metrics = evaluate_encoded(model, processor, encoded, use_dual_softmax=args.dual_softmax, query_bank=bank)
    report = {
        "model": args.model,
        "dataset": args.dataset,
        "split": args.split,
        "num_frames": processor.video_processor.num_frames,
        "sampling": processor.video_processor.sampling,
        "max_words": processor.max_words,
        "seconds": round(time.monotonic() - started, 1),
        "metrics": metrics,
        "skipped": [skipped._asdict() for skipped in encoded.skipped],
    }
    _write(report, args.json)
    return 1 if encoded.skipped else 0


def _load(args: argparse.Namespace):
    from accelerate import Accelerator

    from dmae.modeling.loading import load_pretrained

    model, processor = load_pretrained(args.model, **({"dtype": args.dtype} if args.dtype else {}))
    most = model.config.num_frames if model.config.temporal_layers else math.inf
    if args.num_frames and args.num_frames > most:
        raise ValueError(f"--num-frames {args.num_frames}: {args.model} has positions for {most} frames")
    if args.num_frames:
        processor.video_processor.num_frames = args.num_frames
    return model.to(args.device or Accelerator().device), processor


def _captions(samples) -> list[str]:
    return [caption for sample in samples for caption in sample.captions]


def _write(report: dict, destination: str | None) -> None:
    text = json.dumps(report, indent=2, ensure_ascii=False)
    if destination == "-":
        print(text)
        return
    if destination:
        Path(destination).expanduser().write_text(text + "\n", encoding="utf-8")
    print_report(report)


def print_report(report: dict) -> None:
    """The report as tables: a row for each direction and way of ranking, then hard negatives by kind."""
    from rich.console import Console
    from rich.table import Table

    console, metrics = Console(), report["metrics"]
    counts = f"{metrics['num_videos']} videos of {report['num_frames']} frames, {metrics['num_texts']} texts"
    left_out = f", {metrics['num_skipped']} videos left out" if report["skipped"] else ""
    print(f"{report['model']} on {report['dataset']}, {report['split']}: {counts}{left_out}")
    table = Table("search")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for prefix, ranking in RANKINGS.items():
        for direction, words in DIRECTIONS.items():
            if f"{prefix}{direction}_R@1" in metrics:
                values = (f"{metrics[f'{prefix}{direction}_{column}']:.1f}" for column in COLUMNS)
                table.add_row(words + ranking, *values)
    console.print(table)
    accuracies = {name: value for name, value in metrics.items() if name.startswith("hard_negative_accuracy")}
    if accuracies:
        print("How often the right caption scores above one that is wrong in one thing:")
        table = Table("hard negatives", "accuracy %")
        for name, value in accuracies.items():
            table.add_row(name.partition("/")[2] or "all", f"{value:.1f}")
        console.print(table)
