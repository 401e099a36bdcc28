"""Arguments that several commands share, and the objects they name."""

import argparse

from ..errors import VideoIndexError


def add_index(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--index", required=required, metavar="URI", help="folder of the index, or s3://bucket/name")
    parser.add_argument(
        "--storage-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the object store, such as aws_endpoint=http://localhost:9000 (repeatable)",
    )


def add_model(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--model",
        required=required,
        help="folder or Hub id of a DMAE model, or of a CLIP, SigLIP, … model (zero-shot)",
    )
    parser.add_argument("--device", help='"cpu", "cuda", …; default: the accelerator, where there is one')
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        help="of the model; default: bf16 on an accelerator that has it, else fp32",
    )


def as_rate(text: str) -> float | str | None:
    """A number, `keyframes`, or `whole` for None."""
    if text in ("keyframes", "whole"):
        return None if text == "whole" else text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number, keyframes or whole, not {text!r}") from None


def storage_options(args: argparse.Namespace) -> dict[str, str] | None:
    return key_values("--storage-option", args.storage_option)


def key_values(name: str, options: list[str]) -> dict[str, str] | None:
    """What a repeatable option KEY=VALUE was given, None where it was not."""
    pairs = [option.partition("=") for option in options]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise VideoIndexError(f"{name} takes KEY=VALUE, got {key + equals!r}")
    return {key: value for key, _, value in pairs} or None


def load_model(args: argparse.Namespace):
    """The model on its device, and its processor."""
    from accelerate import PartialState
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    from dmae.modeling.loading import load_pretrained
    from dmae.modeling.precision import place

    logging.disable_progress_bar()
    hub_logging.set_verbosity_error()  # one error at the end says it, not a warning for each attempt before
    model, processor = load_pretrained(args.model)
    return place(model, args.device or PartialState().default_device, args.precision), processor
