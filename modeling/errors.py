"""The project's errors: what the caller can put right is a [`DmaeError`] of one line, the rest are faults of ours."""

import re

# What moves a terminal's cursor, or turns the direction of writing, so that a name looks like another.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class DmaeError(Exception):
    """Something the caller can put right: one line that names the input and the remedy."""


class InputError(DmaeError, ValueError):
    """An argument, an option or a text that cannot be used."""


class ModelError(DmaeError, ValueError):
    """A checkpoint that is no model of the kind that is wanted, or lacks a part of it."""


class MissingPackageError(DmaeError, ImportError):
    """An optional library that is not installed; the message says how to get it."""


class VideoDecodeError(DmaeError, ValueError):
    """A source that cannot be read as a video.

    Args:
        source: what the caller knows it by: a path, `<123 bytes>`, …
        reason: why, in one line without the source.
        passing: whether the same bytes may be read another time: a disk, a right or a process was missing.
    """

    def __init__(self, source: str, reason: str, passing: bool = False):
        super().__init__(source, reason)
        self.source, self.reason, self.passing = source, reason, passing

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


def is_passing(error: BaseException) -> bool:
    """Whether what failed may succeed another time with the same bytes: the trouble was around them, not in them."""
    return getattr(error, "passing", isinstance(error, (OSError, MemoryError)))


def one_line(error: BaseException, limit: int | None = None) -> str:
    """What an error says, on one line of at most `limit` characters; its type where it says nothing."""
    return printable(" ".join(str(error).split())[:limit]) or type(error).__name__


def printable(text: str) -> str:
    """A text for a terminal: names come from strangers' files, and a control character among their letters is shown by
    its escape, as JSON writes it.

    >>> printable("holiday\\x1b[2J.mp4")
    'holiday\\\\u001b[2J.mp4'
    """
    return _CONTROLS.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
