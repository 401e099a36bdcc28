"""The chosen video from beginning to end: the score over time, the spans that match, and what leads to them."""

import numpy as np

from .addresses import clip_url
from .library import Watched
from .markup import SHORT_SECONDS, clock, span, text
from .media import LONGEST_CLIP
from .texts import Texts

WIDTH, HEIGHT, FLOOR = 1000, 100, 6  # of the drawing; the lowest score still has an edge to be seen by
POINTS = 240  # of the curve: as many as a page can tell apart
MOST_MOMENTS = 12


def timeline(watched: Watched, say: Texts, cuts: bool = True) -> str:
    """HTML of the timeline and its spans; nothing where the video's times are unknown.

    Args:
        cuts: whether spans can be had as files.
    """
    hit = watched.result.hit
    if not len(watched.times) or hit.start is None or hit.end is None:
        return ""
    length = max(hit.duration or 0.0, float(watched.times[-1]), hit.end)
    moments = [(m.start, m.end) for m in hit.moments[:MOST_MOMENTS] if m.start is not None and m.end is not None]
    marks = [_mark(start, end, length, "moment") for start, end in moments]
    marks.append(_mark(hit.start, hit.end, length, "span"))
    now, step = hit.best_time or 0.0, 0.1 if length < SHORT_SECONDS else 1
    own = _button(hit.start, hit.end, length, say, "best") + (_download(watched, length, say) if cuts else "")
    return (
        f'<div class="timeline"><svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'{"".join(marks)}<path d="{_area(watched.times, watched.scores, length)}"/></svg>'
        f'<input type="range" class="seekbar" min="0" max="{length:.3f}" step="{step}" '
        f'value="{now:.3f}" aria-label="{text(say("timeline"))}" aria-valuetext="{clock(now)}"></div>'
        f'<p class="help">{text(say("timeline_help"))}</p>'
        f'<div class="spans">{own}</div>'
        f"{_more(moments, length, say)}"
    )


def _more(moments: list, length: float, say: Texts) -> str:
    if not moments:
        return ""
    items = "".join(f"<li>{_button(start, end, length, say)}</li>" for start, end in moments)
    heading = f'<h3 id="more-moments">{text(say("more_moments"))}</h3>'
    return f'{heading}<ol class="spans" aria-labelledby="more-moments">{items}</ol>'


def _button(start: float, end: float, length: float, say: Texts, kind: str = "") -> str:
    shown = span(start, end, length)
    return (
        f'<button type="button" class="seek {kind}" data-seek="{start:.3f}" '
        f'aria-label="{text(say("play_span", span=shown))}">{shown}</button>'
    )


def _download(watched: Watched, length: float, say: Texts) -> str:
    """The link to the hit's span as a file: of a long one, the part that may be cut, with the best moment in it."""
    result, hit = watched.result, watched.result.hit
    if hit.path is None or hit.start is None or hit.end is None:
        return ""
    start, end = hit.start, min(hit.end, length)
    if end - start > LONGEST_CLIP:
        middle = hit.best_time if hit.best_time is not None else start
        start = min(max(start, middle - LONGEST_CLIP / 2), end - LONGEST_CLIP)
        end = start + LONGEST_CLIP
    told = say("download_span", span=span(start, end, length))
    return f'<a class="download" href="{text(clip_url(result.scope, hit.id, start, end))}" download>{text(told)}</a>'


def _mark(start: float, end: float, length: float, kind: str) -> str:
    left, right = (WIDTH * seconds / length for seconds in (start, end))
    return f'<rect class="{kind}" x="{left:.1f}" width="{max(right - left, 2):.1f}" height="{HEIGHT}"/>'


def _area(times: np.ndarray, scores: np.ndarray, length: float) -> str:
    """The path of the area under the scores, from the video's lowest to its highest."""
    if len(times) > POINTS:  # of many frames the best of each stretch
        stretches = np.minimum(times / length * POINTS, POINTS - 1).astype(int)
        firsts = np.flatnonzero(np.diff(stretches, prepend=-1))
        times, scores = (stretches[firsts] + 0.5) * length / POINTS, np.maximum.reduceat(scores, firsts)
    rise = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-6)
    heights = HEIGHT - FLOOR - (HEIGHT - 2 * FLOOR) * rise
    across = WIDTH * times / length
    points = [(0.0, heights[0]), *zip(across, heights), (WIDTH, heights[-1])]
    return f"M0 {HEIGHT}" + "".join(f"L{x:.1f} {y:.1f}" for x, y in points) + f"L{WIDTH} {HEIGHT}Z"
