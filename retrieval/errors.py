"""The one error a user of the index sees, and the translation of the storage engine's errors into it."""

import re
from contextlib import contextmanager


class VideoIndexError(ValueError):
    """Something the caller can put right; the message is one line that names the input and the remedy."""


@contextmanager
def storage_errors(uri: str, doing: str, hint: str = ""):
    """Turns what LanceDB raises while `doing` something into one clear line; nothing written so far is lost."""
    try:
        yield
    except VideoIndexError:
        raise
    except (RuntimeError, OSError, ValueError) as error:
        raise VideoIndexError(f"{doing} failed for the index at {uri}: {_reason(error)}{hint}") from error


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    lower = text.lower()
    if "no space left" in lower or "os error 28" in lower or "quota exceeded" in lower:
        return "no space left on the device; the index is as it was, free some space and run the same command again"
    if (
        "read-only file system" in lower
        or "os error 30" in lower
        or "permission denied" in lower
        or "os error 13" in lower
    ):
        return "the location is not writable; use a folder you may write to, or open the index for searching only"
    # The engine appends the place in its own source and all column names; a user has no use for them.
    return re.sub(r",? ?/\S*?/src/\S+\.rs:\d+:\d+|\. Valid fields are .*", "", text)[:300]
