"""Seconds as people read them."""


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
