"""`dmae convert WEIGHTS DEST`: weights of other text-video codes as a DMAE model."""

import argparse
import json
import sys
from pathlib import Path

from dmae.modeling.written_files import check_writable


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", metavar="WEIGHTS", help="a state_dict: .bin, .pt, .pth or .safetensors")
    parser.add_argument("destination", type=Path, metavar="DEST", help="folder for the converted model")
    parser.add_argument("--tokenizer", help="folder or Hub id (default: CLIP's, from the Hub)")
    parser.add_argument("--num-frames", type=int, default=12, metavar="N", help="default: %(default)s")
    parser.add_argument("--max-words", type=int, default=32, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help='print {"model", "unused", "new"}')


def run(args: argparse.Namespace) -> int:
    from ..release.convert import CLIP_TOKENIZER, convert, load_state_dict, make_processor

    check_writable("DEST", args.destination, folder=True)
    conversion = convert(load_state_dict(args.weights), num_frames=args.num_frames, max_words=args.max_words)
    processor = make_processor(conversion.model.config, args.tokenizer or CLIP_TOKENIZER)
    conversion.model.save_pretrained(args.destination)
    processor.save_pretrained(args.destination)
    if args.json:
        print(json.dumps({"model": str(args.destination), "unused": conversion.unused, "new": conversion.new}))
        return 0
    for name in conversion.unused:
        print(f"not used: {name}", file=sys.stderr)
    layers = conversion.model.config.temporal_layers
    print(f"{args.destination}: CLIP" + (f" and {layers} layers over the frames" if layers else ""))
    print(f"{len(conversion.unused)} weights not used; new, to be trained: {', '.join(conversion.new) or 'none'}")
    return 0
