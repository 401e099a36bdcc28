"""The `dmae` command: finds the subcommands that the installed packages bring and runs one."""

import argparse
import os
import sys
from importlib.metadata import EntryPoint, entry_points

GROUP = "dmae.commands"

# One line each, here so that `dmae --help` need not import every command.
SUMMARIES = {
    "index": "make a folder of videos searchable",
    "search": "find videos by text, image or video",
    "serve": "serve the search page on this machine",
    "stats": "show what an index holds and how it is searched",
    "delete": "remove videos from an index",
    "export": "write an index's embeddings and metadata to files",
    "init": "make a small model from random weights",
    "train": "fine-tune a model on captioned videos",
    "evaluate": "measure retrieval on a benchmark or a folder",
    "push": "publish a trained model on the Hub",
    "push-index": "publish an index on the Hub",
    "push-space": "publish the search page as a Hub Space",
    "convert": "convert weights of other codes",
    "frames": "decode a corpus once, for all training runs",
    "synthetic": "write a synthetic dataset of captioned videos",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand and returns its exit status: 0 done, 1 partly failed, 2 a user's error, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    commands = {entry.name: entry for entry in entry_points(group=GROUP)}
    args = _parse(argv, commands)
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        print("interrupted; what was committed is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output left, as in `dmae search … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"dmae {args.command}: error: {_one_line(error)}", file=sys.stderr)
        return 2


def _parse(argv: list[str], commands: dict[str, EntryPoint]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dmae", description="Text-video search with DMAE + TPM-CL.")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    order = [*SUMMARIES, *sorted(commands.keys() - SUMMARIES.keys())]
    for name in (name for name in order if name in commands):
        if name != chosen:
            subparsers.add_parser(name, help=SUMMARIES.get(name))
            continue
        command = commands[name].load()
        subparser = subparsers.add_parser(
            name,
            help=SUMMARIES.get(name),
            description=command.help,
            epilog=f"example: {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.configure(subparser)
        subparser.set_defaults(run=command.run)
    return parser.parse_args(argv)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
