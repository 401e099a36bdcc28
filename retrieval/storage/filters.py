"""Filters on metadata: what a caller may write in `where`, with every value quoted."""

import math
import re
from collections.abc import Mapping

import numpy as np

from ..errors import VideoIndexError

_QUOTED = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|`[^`]*`""")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def quote(value) -> str:
    """A value as an SQL literal."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)) and math.isfinite(value):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise VideoIndexError(f"a filter compares with text, finite numbers or true/false, got {value!r:.80}")


def make_where(where: str | Mapping | None) -> str | None:
    """A filter as SQL: a string as it is, a mapping as equality of every key (`None` means "is null", a list "is one
    of").

    Example:
        >>> make_where({"category": "chef's", "year": [2020, 2021]})
        "`category` = 'chef''s' AND `year` IN (2020, 2021)"
    """
    if where is None or isinstance(where, str):
        return where
    if not isinstance(where, Mapping):
        raise VideoIndexError(f"a filter is a text or a dictionary, got {where!r:.80}")
    return " AND ".join(_condition(name, value) for name, value in where.items()) or None


def all_of(*wheres: str | None) -> str | None:
    """The filter that keeps what each of several filters keeps; None where none is given."""
    return " AND ".join(as_expression(where) for where in wheres if where is not None) or None


def as_expression(where: str) -> str:
    """The filter as the engine takes it, if it is one expression: in parentheses, because the engine reads the first
    expression of a text and drops what follows unseen.
    """
    if not where.strip():
        raise VideoIndexError('the filter is empty: leave where out, or write one such as "duration < 60"')
    bare = _QUOTED.sub(" ", where)
    if set("'\"`") & set(bare):
        raise VideoIndexError(f"the filter {where!r} has an unclosed quote: write a quote inside text twice")
    if ";" in bare or "--" in bare or "/*" in bare or not _closes(bare):
        raise VideoIndexError(
            f'the filter {where!r} must be one expression such as "duration < 60", without semicolons, comments or '
            f"brackets that do not close"
        )
    return f"({where})"


def _closes(text: str) -> bool:
    """Whether every parenthesis that opens closes, and none closes that was not open."""
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def _condition(name: str, value) -> str:
    if not isinstance(name, str) or not _IDENTIFIER.match(name):
        raise VideoIndexError(f"a filter names a column, got {name!r}")
    name = f"`{name}`"  # which may be a word of the language, such as `order`
    if value is None:
        return f"{name} IS NULL"
    if isinstance(value, (list, tuple, set)):
        if not value:
            return "false"
        return f"{name} IN ({', '.join(quote(v) for v in value)})"
    return f"{name} = {quote(value)}"
