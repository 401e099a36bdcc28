"""`dmae train [CONFIG] [key=value …]`, under a launcher `accelerate launch -m dmae.cli train …`."""

import argparse
import logging
import sys

from ..config_help import terminal_help


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "settings", nargs="*", metavar="CONFIG|key=value", help="a YAML file, if any, then key=value that override it"
    )
    parser.epilog = f"The keys, also in docs/configuration.md:\n\n{terminal_help()}\n\n{parser.epilog}"


def run(args: argparse.Namespace) -> int:
    from accelerate import PartialState

    from ..config import load_config
    from ..loop import train

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
    numbers |= {f"test/{name}": value for name, value in result.get("test_metrics", {}).items()}
    print("\n".join(f"{name:24} {value:.4g}" for name, value in numbers.items()))
    print(f"model: {result['model_dir']} ({result['step']} steps in {result['seconds']:.0f} s)")
    if "url" in result:
        print(f"published: {result['url']}")
    return 0
