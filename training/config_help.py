"""The keys of a training configuration in words: `dmae train --help`, and docs/configuration.md by

python -m dmae.training.config_help > docs/configuration.md
"""

import math
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Literal, get_args, get_origin, get_type_hints

import yaml

from .config import TrainConfig, value_type

TYPES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    dict: "mapping",
    list: "list of texts",
}
PAGE = """\
# The keys of a training configuration

`dmae train [CONFIG] [key=value …]` reads a YAML file, if one is named, and then the `key=value` that follow it; values
are YAML (`null`, `true`, `1e-4`), and `model_options.loss=infonce` reaches into a mapping. A file may begin with
`extends: other.yaml`, beside it, and say only what differs. The defaults are the paper's recipe.
[training/configs](../training/configs) holds recipes for the benchmarks.

A run continues from its newest checkpoint when the same command is given again. Keys marked *yes* under "resume" may
have another value then; the others make another run, which is refused.

This page is made by `python -m dmae.training.config_help > docs/configuration.md`.
"""


def terminal_help() -> str:
    """Every key with its default and meaning, under the headings of its section, as wide as the terminal."""
    width = min(shutil.get_terminal_size().columns, 120)
    lines = []
    for section, items in _sections():
        lines.append(f"\n{section}:")
        for item in items:
            told = f"{item.metadata['help']} ({_values(item)})"
            lines.extend(
                textwrap.wrap(
                    told, max(width, 60), initial_indent=f"  {_assignment(item):30} ", subsequent_indent=" " * 33
                )
            )
    return "\n".join(lines).strip()


def page() -> str:
    """docs/configuration.md."""
    parts = [PAGE]
    for section, items in _sections():
        rows = [
            f"| `{item.name}` | {_code(_default(item))} | {_values(item)} | {item.metadata['help']} | "
            f"{'yes' if item.metadata['resumable'] else ''} |"
            for item in items
        ]
        head = "| key | default | values | meaning | resume |\n| --- | --- | --- | --- | --- |"
        parts.append("\n".join([f"## {section}", head, *rows]) + "\n")
    return "\n".join(parts)


def _sections() -> Iterator[tuple[str, list[Field]]]:
    section, items = "", []
    for item in fields(TrainConfig):
        if item.metadata["section"]:
            if items:
                yield section, items
            section, items = item.metadata["section"], []
        items.append(item)
    yield section, items


def _assignment(item: Field) -> str:
    default = _default(item)
    return f"{item.name}={default}" if default else item.name


def _default(item: Field) -> str:
    """As it is written in YAML."""
    value = item.default_factory() if item.default_factory is not MISSING else item.default
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip() if value != "" else ""


def _values(item: Field) -> str:
    """The type of a key's values, and their bounds or the words that are allowed."""
    wanted = value_type(get_type_hints(TrainConfig)[item.name])
    if get_origin(wanted) is Literal:
        return " or ".join(get_args(wanted))
    name = TYPES[get_origin(wanted) or wanted]
    least, most = item.metadata["least"], item.metadata["most"]
    if least == -math.inf:
        return name
    return f"{name}, at least {least}" if most == math.inf else f"{name}, {least} to {most}"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    print(page(), end="")
