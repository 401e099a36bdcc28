"""Seconds as people read them."""

import math


def clock(seconds: float | None) -> str:
    """Seconds as `mm:ss`, or `h:mm:ss` from an hour on; nothing for None.

    >>> clock(75.4), clock(3661), clock(None)
    ('01:15', '1:01:01', '')
    """
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def span_clock(start: float | None, end: float | None) -> str:
    """A span, rounded to whole seconds outwards; nothing where an end is not known.

    >>> span_clock(723.4, 740.2), span_clock(0.0, None)
    ('12:03-12:21', '')
    """
    return "" if start is None or end is None else f"{clock(start)}-{clock(math.ceil(end))}"
