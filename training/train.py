"""`python -m dmae.training.train [CONFIG] [key=value …]`, also under `accelerate launch -m`, and `dmae train`."""

import argparse
import logging
import sys
from types import SimpleNamespace

from accelerate import PartialState

from .config import load_config
from .loop import TrainingError, train
from .publishing import PublishingError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "settings", nargs="*", metavar="CONFIG|key=value", help="a YAML file, if any, then key=value that override it"
    )


def run(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    path, overrides = None, args.settings
    if overrides and "=" not in overrides[0]:
        path, *overrides = overrides
    try:
        result = train(load_config(path, overrides))
    except KeyboardInterrupt as stopped:
        print(
            str(stopped) or "stopped; the same command continues from the last checkpoint",
            file=sys.stderr,
        )
        return 130
    if not PartialState().is_main_process:
        return 0
    numbers = {name: value for name, value in result["metrics"].items() if isinstance(value, int | float)}
    print("\n".join(f"{name:24} {value:.4g}" for name, value in numbers.items()))
    print(f"model: {result['model_dir']} ({result['step']} steps in {result['seconds']:.0f} s)")
    if "url" in result:
        print(f"published: {result['url']}")
    return 0


command = SimpleNamespace(
    help="fine-tune a model on a corpus",
    example="dmae train training/configs/msrvtt_vit_b32.yaml videos=~/msrvtt batch_size=64",
    configure=configure,
    run=run,
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dmae.training.train", epilog=f"example: {command.example}")
    configure(parser)
    try:
        return run(parser.parse_args())
    except (ValueError, OSError, TrainingError, PublishingError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
