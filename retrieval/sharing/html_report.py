"""A search's results as one HTML file that needs nothing else: thumbnails inside, the score over time as a strip."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from ..search.searcher import SearchHit
from ..times import clock

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{query}</title>
<style>
body {{ font: 16px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1d2530; }}
ol {{ list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }}
li {{ border: 1px solid #d5dbe3; border-radius: 8px; overflow: hidden; }}
img, .blank {{ width: 100%; aspect-ratio: 16/9; object-fit: cover; display: block; background: #e8ecf1; }}
p {{ margin: .5rem .75rem; overflow-wrap: anywhere; }}
.meta {{ color: #4d5a6b; font-size: .875rem; }}
svg {{ display: block; width: 100%; height: 2.5rem; }}
</style>
</head>
<body>
<h1>{query}</h1>
<p class="meta">{count} results</p>
<ol>
{items}
</ol>
</body>
</html>
"""

_ITEM = """<li>{picture}{strip}
<p><strong>{rank}. {name}</strong></p>
<p class="meta">score {score:.3f}{moment}{length}</p></li>"""


def html_report(query: str, hits: Sequence[SearchHit], thumbnails: Mapping[str, bytes], *, offset: int = 0) -> str:
    """The page. Every text in it is escaped: names and metadata of indexed files are data."""
    items = (_item(rank, hit, thumbnails.get(hit.id)) for rank, hit in enumerate(hits, start=offset + 1))
    return _PAGE.format(query=escape(query), count=len(hits), items="\n".join(items))


def _item(rank: int, hit: SearchHit, thumbnail: bytes | None) -> str:
    picture = '<div class="blank"></div>'
    if thumbnail:
        picture = f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(thumbnail).decode()}">'
    return _ITEM.format(
        picture=picture,
        strip=_strip(hit),
        rank=rank,
        name=escape(hit.path or hit.id),
        score=hit.score,
        moment=f" · best at {clock(hit.best_time)}" if hit.best_time is not None else "",
        length=f" · {clock(hit.duration)} long" if hit.duration else "",
    )


def _strip(hit: SearchHit) -> str:
    """A bar per frame, as high as its score among the video's own; the best one is darker."""
    scores = hit.frame_scores
    low, high = float(scores.min()), float(scores.max())
    bars = []
    for n, score in enumerate(scores):
        height = 20 + 80 * (float(score) - low) / (high - low) if high > low else 100
        colour = "#0b5cad" if score == high else "#9fc3e8"
        title = f"{clock(float(hit.frame_times[n]))} · {score:.3f}" if len(hit.frame_times) else f"{score:.3f}"
        bars.append(
            f'<rect x="{n}" y="{100 - height:.1f}" width="0.9" height="{height:.1f}" fill="{colour}">'
            f"<title>{title}</title></rect>"
        )
    shape = f'viewBox="0 0 {len(scores)} 100" preserveAspectRatio="none"'
    return f'<svg {shape} role="img" aria-label="score over time">{"".join(bars)}</svg>'
