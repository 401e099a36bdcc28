"""`dmae init DEST`: a small model from random weights with a tokenizer of its own, to train on a corpus."""

import argparse
import json
from pathlib import Path

from dmae.modeling import InputError
from dmae.modeling.written_files import check_writable


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("destination", type=Path, help="folder to write the model and processor to")
    parser.add_argument(
        "--captions", required=True, metavar="CORPUS", help="corpus whose captions give the vocabulary"
    )
    parser.add_argument("--split", default="train", help="its split (default: train)")
    for name, default in {"image-size": 64, "patch-size": 16, "width": 128, "num-frames": 4, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    parser.add_argument("--vision-layers", type=int, default=4, help="default: 4")
    parser.add_argument("--text-layers", type=int, default=2, help="default: 2")
    parser.add_argument(
        "--stills",
        type=int,
        default=0,
        metavar="STEPS",
        help="train the towers for this many steps on drawn stills, so that they know what is where (default: 0)",
    )
    parser.add_argument(
        "--short-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="this share of the stills' captions are as short as queries, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument("--temporal-layers", type=int, default=2, help="layers of the frame transformer (default: 2)")


def run(args: argparse.Namespace) -> int:
    from ..corpora import load_samples
    from ..synthetic.init import new_model
    from ..synthetic.stills import MEASURED, train_towers, vocabulary

    check_writable("DEST", args.destination, folder=True)
    captions = [caption for sample in load_samples(args.captions, args.split) for caption in sample.captions]
    names = ("image_size", "patch_size", "width", "num_frames", "seed", "vision_layers", "text_layers")
    options = {name: getattr(args, name) for name in (*names, "temporal_layers")}
    if args.stills < 0:
        raise InputError(f"--stills {args.stills}: give the number of steps, at least 0")
    if not 0 <= args.short_share <= 1:
        raise InputError(f"--short-share {args.short_share}: give a share of the captions, from 0 to 1")
    model, processor = new_model([*captions, *(vocabulary() if args.stills else ())], **options)
    if args.stills:
        records = train_towers(model, processor, args.stills, short_share=args.short_share, seed=args.seed)
    model.save_pretrained(args.destination)
    processor.save_pretrained(args.destination)
    if args.stills:
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (args.destination / "stills.jsonl").write_text(lines, encoding="utf-8")
        told = records[-1]
        print(f"stills: R@1 {told['R@1']:.1f} % of {MEASURED}, α {told['logit_scale']:.1f} (curve in stills.jsonl)")
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{args.destination}: {size:,} parameters, {len(processor.tokenizer):,} tokens")
    return 0
