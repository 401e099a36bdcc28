"""Filters on metadata: what a caller may write in `where`, with every value quoted."""

import re
from collections.abc import Mapping

from .errors import VideoIndexError

_STRINGS = re.compile(r"'(?:[^']|'')*'")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def quote(value) -> str:
    """A value as an SQL literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise VideoIndexError(f"a filter compares with text, numbers or true/false, got {value!r:.80}")


def make_where(where: str | Mapping | None) -> str | None:
    """A filter as SQL: a string as it is, a mapping as equality of every key (`None` means "is null", a list "is one
    of").

    Example:
        >>> make_where({"category": "chef's", "year": [2020, 2021]})
        "category = 'chef''s' AND year IN (2020, 2021)"
    """
    if where is None or isinstance(where, str):
        return check_where(where)
    return " AND ".join(_condition(name, value) for name, value in where.items()) or None


def check_where(where: str | None) -> str | None:
    """The filter if it is one expression. The engine reads only the first statement and would drop the rest unseen."""
    if where is None:
        return None
    if not where.strip():
        raise VideoIndexError('the filter is empty: leave where out, or write one such as "duration < 60"')
    bare = _STRINGS.sub("''", where)
    if "'" in bare.replace("''", ""):
        raise VideoIndexError(f"the filter {where!r} has an unclosed quote: write a quote inside text twice")
    if ";" in bare or "--" in bare or "/*" in bare:
        raise VideoIndexError(
            f'the filter {where!r} must be one expression such as "duration < 60", without ; or comments'
        )
    return where


def _condition(name: str, value) -> str:
    if not isinstance(name, str) or not _IDENTIFIER.match(name):
        raise VideoIndexError(f"a filter names a column, got {name!r}")
    if value is None:
        return f"{name} IS NULL"
    if isinstance(value, (list, tuple, set)):
        return f"{name} IN ({', '.join(quote(v) for v in value)})"
    return f"{name} = {quote(value)}"
