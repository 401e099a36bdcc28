"""The `dmae` command: what each subcommand is for, and the one place where errors become one line.

A subcommand is a module with `configure(parser)`, which adds its arguments, and `run(args)`, which does the work and
returns the exit status. Only the module of the command that was asked for is imported.
"""

import argparse
import codecs
import io
import os
import sys
from importlib import import_module
from typing import NamedTuple

from dmae.modeling.errors import DmaeError, one_line


class Command(NamedTuple):
    """A subcommand: where it lives below `dmae`, what it does in one line, and one real call."""

    module: str
    help: str
    example: str


CLIP = "openai/clip-vit-base-patch32"
COMMANDS = {
    "index": Command(
        "retrieval.commands.index",
        "make a folder of videos searchable; run again to bring it up to date",
        f"dmae index ~/clips --model {CLIP} --index clips.index",
    ),
    "search": Command(
        "retrieval.commands.search",
        "find videos by a text, or more like an image or a video",
        f'dmae search "a dog on a skateboard" --model {CLIP} --index clips.index -k 5',
    ),
    "serve": Command(
        "space.serve",
        "serve the search page on this machine",
        f"dmae serve --model {CLIP} --index clips.index",
    ),
    "stats": Command(
        "retrieval.commands.stats",
        "show what an index holds and how it is searched",
        "dmae stats --index clips.index",
    ),
    "shard": Command(
        "retrieval.commands.shard",
        "split an index into tables that many machines search beside each other",
        "dmae shard s3://bucket/shards --index s3://bucket/index --shards 10",
    ),
    "duplicates": Command(
        "retrieval.commands.duplicates",
        "list videos that show the same, in whole or in part",
        "dmae duplicates --index clips.index --above 0.95",
    ),
    "delete": Command(
        "retrieval.commands.delete",
        "remove videos from an index (their files stay)",
        "dmae delete boat.mp4 yoga.mp4 --index clips.index",
    ),
    "export": Command(
        "retrieval.commands.export",
        "write an index's embeddings and metadata to a Parquet file",
        "dmae export clips.parquet --index clips.index --where 'duration < 60'",
    ),
    "migrate": Command(
        "retrieval.commands.migrate",
        "bring an index of an older version to the newest format",
        "dmae migrate --index clips.index --frames-per-second 1",
    ),
    "init": Command(
        "training.commands.init",
        "make a small model from random weights with a tokenizer of its own",
        "dmae init runs/small --captions demo/corpus --stills 1000",
    ),
    "train": Command(
        "training.commands.train",
        "fine-tune a model on captioned videos",
        "dmae train training/configs/msrvtt_vit_b32.yaml videos=~/msrvtt batch_size=64",
    ),
    "evaluate": Command(
        "training.commands.evaluate",
        "measure retrieval on a benchmark or a folder: recall, ranks, hard negatives",
        "dmae evaluate runs/msrvtt_vit_b32 msrvtt --videos data/msrvtt/videos --annotations data/msrvtt"
        " --json result.json",
    ),
    "push": Command(
        "training.commands.push",
        "publish a trained model on the Hub with its code and model card",
        "dmae push runs/msrvtt_vit_b32 YOUR_NAME/dmae-vit-b32-msrvtt --private",
    ),
    "push-index": Command(
        "retrieval.commands.push_index",
        "publish an index on the Hub, its videos only where asked",
        f"dmae push-index your-name/clips-index --index clips.index --model-id {CLIP}",
    ),
    "push-space": Command(
        "space.push_space",
        "publish the search page as a Hub Space",
        "dmae push-space me/my-search --model me/my-model --index me/my-index",
    ),
    "convert": Command(
        "training.commands.convert",
        "convert weights of CLIP4Clip, TS2-Net, DRL or OpenAI's CLIP into a DMAE model",
        "dmae convert ckpts/pytorch_model.bin.4 models/clip4clip-msrvtt",
    ),
    "frames": Command(
        "training.commands.frames",
        "decode a corpus once, for all training runs",
        "dmae frames msrvtt frames.cache --videos ~/msrvtt/videos --annotations ~/msrvtt --sampling per_second",
    ),
    "synthetic": Command(
        "training.commands.synthetic",
        "write a synthetic corpus of mp4 files with captions and hard negatives",
        "dmae synthetic shapes --train 3000 --test 500",
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand and returns its exit status: 0 done, 1 not wholly, 2 a user's error, 130 interrupted."""
    _escape_what_cannot_be_shown()
    args = _parse(sys.argv[1:] if argv is None else argv)
    try:
        return args.run(args) or 0
    except KeyboardInterrupt as stopped:
        print(str(stopped) or "interrupted; what was committed is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output left, as in `dmae search … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (DmaeError, OSError) as error:  # what the user can put right; any other is our fault and shows its place
        if args.traceback:
            raise
        print(f"dmae {args.command}: error: {one_line(error)}", file=sys.stderr)
        return 2


def _escape_what_cannot_be_shown() -> None:
    """Where standard output lacks a letter of a file name (a Windows code page, ASCII, a name that is no text), its
    escape is printed in its place, as JSON writes it, so that no result is lost and what reads JSON gets it back."""

    def escape(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end

    codecs.register_error("dmae.escape", escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="dmae.escape")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dmae", description="Text-video search with DMAE + TPM-CL.")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=command.help,
            description=command.help,
            epilog=f"example: {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == chosen:
            module = import_module(f"dmae.{command.module}")
            module.configure(subparser)
            subparser.add_argument("--traceback", action="store_true", help="show where an error came from")
            subparser.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    if getattr(args, "moments", False):  # measured through an index, which training does not know
        args.run = import_module("dmae.moment_evaluation").run
    return args


if __name__ == "__main__":
    sys.exit(main())
