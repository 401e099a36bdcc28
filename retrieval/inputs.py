"""Ids and arrays as callers give them."""

from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING

from .errors import VideoIndexError

if TYPE_CHECKING:
    import torch


def check_ids(ids: Iterable[str], *, distinct: bool = True) -> list[str]:
    """The ids as a list without repetition; raises where one is not a non-empty string or, if they must be `distinct`,
    comes twice.
    """
    if isinstance(ids, str):
        raise VideoIndexError(f"ids must be a list of strings, got the string {ids!r}: write [{ids!r}]")
    if not isinstance(ids, Iterable):
        raise VideoIndexError(f"ids must be a list of strings, got {ids!r:.80}")
    seen = {}
    for i in ids:
        if not isinstance(i, str) or not i:
            raise VideoIndexError(f"ids must be non-empty strings, got {i!r}")
        if not is_unicode(i):
            raise VideoIndexError(f"id {i!r} is not text: it holds half a character")
        if distinct and i in seen:
            raise VideoIndexError(f"duplicate id {i!r}: give each video its own id")
        seen[i] = True
    return list(seen)


def check_number(name: str, value) -> None:
    """Raises where a limit that was given is no number."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real) or value != value):
        raise VideoIndexError(f"{name} must be a number, got {value!r}")


def check_confidence(name: str, value) -> None:
    """Raises where a confidence that was given is no number from 0 to 1."""
    check_number(name, value)
    if value is not None and not 0 <= value <= 1:
        raise VideoIndexError(f"{name} must be from 0 to 1, got {value!r}")


def as_unicode(text: str) -> str:
    """A text with the sign for what cannot be shown in place of each half of a character, as browsers do."""
    return text if is_unicode(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_unicode(text: str) -> bool:
    """Whether a text can be stored: a file name that is not UTF-8 comes with halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def as_tensor(values, name: str) -> "torch.Tensor":
    """A caller's numbers (numpy, torch or nested lists, of any layout) as a tensor on the CPU."""
    import numpy as np  # here: commands that need no tensor start without these two
    import torch

    if isinstance(values, torch.Tensor):
        return values.detach().cpu()
    try:
        return torch.from_numpy(np.require(values, requirements=("C", "W")))
    except (TypeError, ValueError):
        raise VideoIndexError(
            f"{name} must be an array of numbers (numpy or torch), got {type(values).__name__} {values!r:.60}"
        ) from None
