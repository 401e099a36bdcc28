"""The project's errors: what the caller can put right is a [`DmaeError`] of one line, the rest are faults of ours."""


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
    return " ".join(str(error).split())[:limit] or type(error).__name__
