"""What can be set from outside: the model, the index, and how much a visitor may ask for."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dmae.modeling import InputError

PREFIX = "DMAE_"
TRUE, FALSE = frozenset(("1", "true", "yes", "on")), frozenset(("0", "false", "no", "off"))


def _setting(default, help_text: str):
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class Settings:
    """Every field is also an environment variable, `DMAE_` and the field's name in capitals; see `describe`."""

    model: str = _setting("", "folder or Hub id of the model; empty: the demo's")
    index: str = _setting("", "folder, object store URI or Hub id of the index; empty: the demo's")
    backend: str = _setting("", "address of a search service on Ray that has the model and the index in their place")
    precision: str = _setting(
        "", "of the model: fp32, bf16 or fp16; empty: bf16 on an accelerator that has it, else fp32"
    )
    videos: str = _setting(
        "", "play only videos inside this folder, or below this URL; empty: any video file that the index lists"
    )
    watch: str = _setting("", "follow this folder of videos: what comes there is searchable as soon as it is whole")
    title: str = _setting("Find the moment", "title of the page")
    about: str = _setting("", "a line under the title that says what the videos are; empty: nothing, or the demo's")
    examples: str = _setting("", "example queries, separated by |")
    public: bool = _setting(False, "strangers visit: adding videos is off unless switched on")
    uploads: bool | None = _setting(None, "let visitors add videos of their own, seen by them alone")
    min_confidence: float = _setting(
        0.0, "show only results at least this sure, from 0 to 1, unless a visitor asks for others; 0: all"
    )
    mcp: bool = _setting(False, "agents may call the search as tools (MCP), at /gradio_api/mcp/")
    token: str = _setting("", "what agents have to send; drawn where none is set and other machines can call")
    max_file_mb: int = _setting(200, "largest file a visitor may send, in MB")
    max_seconds: int = _setting(900, "longest video a visitor may add, in seconds")
    max_uploads: int = _setting(20, "videos a visitor may have added at a time")
    max_disk_mb: int = _setting(4000, "disk that all visitors' files together may take, in MB")
    session_minutes: int = _setting(60, "minutes after which an idle visitor's videos are deleted")
    concurrency: int = _setting(1, "searches that run at a time, each on all cores; others wait in the queue")
    queue_size: int = _setting(100, "requests that may wait; more are told to come back")

    @property
    def uploads_allowed(self) -> bool:
        if self.backend:  # where nothing can be encoded
            return False
        return not self.public if self.uploads is None else self.uploads

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, **given) -> "Settings":
        """Settings from `DMAE_…` variables; `given` ones that are not None take precedence.

        Raises:
            InputError: naming a variable whose value makes no sense.
        """
        values: dict[str, Any] = {"public": "SPACE_ID" in environment}  # set on every Hub Space
        for item in fields(cls):
            name = variable(item.name)
            if environment.get(name, "").strip():
                values[item.name] = _parse(name, environment[name].strip(), item.type)
        values |= {name: value for name, value in given.items() if value is not None}
        settings = cls(**values)
        for item in fields(cls):
            if item.type is int and getattr(settings, item.name) < 1:
                raise InputError(f"{variable(item.name)} must be at least 1, got {getattr(settings, item.name)}")
        if not 0 <= settings.min_confidence <= 1:
            raise InputError(f"{variable('min_confidence')} must be from 0 to 1, got {settings.min_confidence}")
        return settings


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def describe() -> str:
    """A Markdown table of every variable, its default and its meaning."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for item in fields(Settings):
        default = "" if item.default in ("", None) else f"`{item.default}`"
        lines.append(f"| `{variable(item.name)}` | {default} | {item.metadata['help']} |")
    return "\n".join(lines)


def _parse(name: str, text: str, kind):
    if kind is str:
        return text
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise InputError(f"{name} must be {what}, got {text!r}") from None
    if text.lower() not in TRUE | FALSE:
        raise InputError(f"{name} must be 1 or 0, got {text!r}")
    return text.lower() in TRUE
