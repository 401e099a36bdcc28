"""HTML from data: everything that comes from an index, a file or a visitor passes `text`."""

import html

from dmae.retrieval import clock, span_clock

__all__ = ["clock", "message", "moment", "span", "text"]

SHORT_SECONDS = 20

# The page's HTML component also reads ${…} and {{…}}: neither may come from outside.
_TEMPLATES = str.maketrans({"$": "&#36;", "{": "&#123;", "}": "&#125;", "`": "&#96;", "\\": "&#92;"})


def text(value) -> str:
    """Any value as text inside an element or a quoted attribute."""
    return html.escape(str(value), quote=True).translate(_TEMPLATES)


def moment(time: float | None, duration: float | None) -> str:
    """A moment of a video (s), with tenths where the video is so short that whole seconds say little."""
    short = time is not None and (duration or 0) < SHORT_SECONDS
    return f"{time:.1f} s" if short else clock(time)


def span(start: float, end: float, duration: float | None) -> str:
    """A span of a video (s), as exact as `moment`."""
    if (duration or 0) < SHORT_SECONDS:
        return f"{start:.1f}–{end:.1f} s"
    return span_clock(start, end).replace("-", "–")


def message(title: str, body: str, kind: str = "empty") -> str:
    """A block that says why there is nothing else to see; `kind` is "empty" or "error"."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="message {kind}" role="{role}"><strong>{text(title)}</strong><p>{text(body)}</p></div>'
