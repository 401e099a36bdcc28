"""HTML from data: everything that comes from an index, a file or a visitor passes `text`."""

import html

from dmae.retrieval.clock import clock

__all__ = ["clock", "message", "text"]

# The page's HTML component also reads ${…} and {{…}}: neither may come from outside.
_TEMPLATES = str.maketrans({"$": "&#36;", "{": "&#123;", "}": "&#125;", "`": "&#96;", "\\": "&#92;"})


def text(value) -> str:
    """Any value as text inside an element or a quoted attribute."""
    return html.escape(str(value), quote=True).translate(_TEMPLATES)


def message(title: str, body: str, kind: str = "empty") -> str:
    """A block that says why there is nothing else to see; `kind` is "empty" or "error"."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="message {kind}" role="{role}"><strong>{text(title)}</strong><p>{text(body)}</p></div>'
