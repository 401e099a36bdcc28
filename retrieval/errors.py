"""The one error a user of the index sees, and the translation of the storage engine's errors into it."""

import re
from collections.abc import Callable
from contextlib import contextmanager

from dmae.modeling.errors import DmaeError, one_line


class VideoIndexError(DmaeError, ValueError):
    """Something the caller can put right; the message is one line that names the input and the remedy."""


@contextmanager
def storage_errors(uri: str, doing: str, hint: Callable[[], str] = str):
    """Turns what LanceDB raises while `doing` something into one clear line, with a `hint` at its end; nothing written
    so far is lost."""
    try:
        yield
    except DmaeError:
        raise
    except (RuntimeError, OSError, ValueError) as error:
        raise VideoIndexError(f"{doing} failed for the index at {uri}: {_reason(error)}{hint()}") from error


# What the engine says about common troubles, in lower case, and what that means for its user.
_TROUBLES = {
    ("no space left", "os error 28", "quota exceeded"): "no space left on the device; the index is as it was, "
    "free some space and run the same command again",
    ("read-only file system", "os error 30", "permission denied", "os error 13"): "the location is not writable; "
    "use a folder you may write to, or open the index for searching only",
    ("not found: ",): "it was there and is not any more; open it again where it is now, or make it anew",
    ("nosuchbucket",): "the object store has no such bucket; make it first",
    ("accessdenied", "invalidaccesskeyid", "signaturedoesnotmatch", "expiredtoken"): "the object store refuses these "
    "credentials; give others in storage_options",
    # Without any, the engine asks the services that give machines of a cloud theirs.
    ("credential", "169.254.169.254", "imds", "metadata.google"): "no credentials for the object store; set "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (for gs:// GOOGLE_APPLICATION_CREDENTIALS), or give them in "
    "storage_options",
    ("connection refused", "error sending request", "dns error"): "the object store cannot be reached; "
    "look at aws_endpoint in storage_options, or at the network",
}


def _reason(error: BaseException) -> str:
    text = one_line(error)
    lower = text.lower()
    for words, meaning in _TROUBLES.items():
        if any(word in lower for word in words):
            return meaning
    # The engine appends the place in its own source and all column names; a user has no use for them.
    return re.sub(r",? ?/\S*?/src/\S+\.rs:\d+:\d+|\. Valid fields are .*", "", text)[:300]
