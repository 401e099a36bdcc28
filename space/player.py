"""The chosen video from its best moment: the score over its time, the spans that match, the frames it was compared by
and the words × frames heat map."""

import numpy as np

from .library import Result, Watched, clip_url
from .markup import SHORT_SECONDS, clock, moment, span, text
from .media import LONGEST_CLIP, SAME_MOMENT
from .texts import Texts

NOTHING_CHOSEN = '<div class="player empty" aria-hidden="true"></div>'
WIDTH, HEIGHT, FLOOR = 1000, 100, 6  # of the drawing; the lowest score still has an edge to be seen by
POINTS = 240  # of the curve: as many as a page can tell apart
MOST_MOMENTS = 12


def player(watched: Watched, say: Texts, *, plays: bool = True, cuts: bool = True) -> str:
    """HTML of one result.

    Args:
        plays: its file is within reach; else its pictures are shown in its place. cuts: spans of it can be cut out.
    """
    result, hit = watched.result, watched.result.hit
    start = hit.best_time or 0.0
    facts = [say.worth(hit)]
    if hit.confidence is not None:
        facts.append(say("score", value=f"{hit.score:.3f}"))
    if hit.best_time is not None:
        facts.append(say("best_moment", time=moment(hit.best_time, hit.duration)))
    if hit.duration:
        facts.append(say("length", time=moment(hit.duration, hit.duration)))
    return (
        f'<section class="player" aria-label="{text(result.title)}">'
        f'<div class="screen">{_screen(result, start, say, plays)}</div>'
        f'<div class="caption"><h2>{text(result.title)}</h2><p>{_in_a_row(facts)}</p></div>'
        f"{timeline(watched, say, cuts)}{_heat_map(watched, say)}</section>"
    )


def _in_a_row(facts: list[str]) -> str:
    """Facts with dots between them; a line ends after a dot, never within a fact."""
    return " ".join(f"<span>{fact} ·</span>" for fact in facts[:-1]) + f" <span>{facts[-1]}</span>"


def _screen(result: Result, start: float, say: Texts, plays: bool) -> str:
    picture = text(result.frame(result.best_frame))
    if not plays:
        return f'<img src="{picture}" alt=""><p class="unplayable">{text(say("out_of_reach"))}</p>'
    return (
        f'<video src="{text(result.video)}#t={start:.3f}" data-start="{start:.3f}" '
        f'poster="{picture}" controls muted playsinline preload="auto" '
        f'aria-label="{text(say("from_best", title=result.title))}"></video>'
        f'<p class="unplayable" hidden>{text(say("unplayable"))}</p>'
    )


def _heat_map(watched: Watched, say: Texts) -> str:
    explanation = watched.explanation
    rows = [(say("whole_query"), explanation.sentence_similarity, "sentence")]
    rows += [
        (word, similarity, "content" if weight > 1 else "")
        for word, similarity, weight in zip(explanation.words, explanation.similarity, explanation.word_weights)
    ]
    body = "".join(_row(name, values, kind, explanation.frame_times) for name, values, kind in rows)
    head = f'<th scope="col">{text(say("frame"))}</th>{_strip(watched, say)}'
    return (
        f'<div class="heat" tabindex="0" role="region" aria-label="{text(say("why"))}" aria-describedby="heat-help">'
        f'<table style="--frames: {len(explanation.hit.frame_scores)}">'
        f"<thead><tr>{head}</tr></thead>"
        f'<tbody>{body}</tbody></table></div><p class="help" id="heat-help">{text(say("heat_help"))}</p>'
    )


def _strip(watched: Watched, say: Texts) -> str:
    """The frames of the segment that fits best."""
    result, times = Result(watched.explanation.hit, watched.result.scope), watched.explanation.frame_times
    best_frame, cells = result.best_frame, []
    if len(times):  # the best moment may lie in another segment of its span
        near = np.flatnonzero(np.abs(times - (watched.result.hit.best_time or 0.0)) < SAME_MOMENT)
        best_frame = int(near[0]) if len(near) else None
    for number, score in enumerate(result.hit.frame_scores):
        time = times[number] if number < len(times) else None
        best = number == best_frame
        shown = moment(time, result.hit.duration)
        label = say("play_from", time=shown) if time is not None else say("frame_number", number=number + 1)
        title = f"{label} ({say('score', value=f'{score:.3f}')})"
        seek = f' data-seek="{time:.3f}"' if time is not None else " disabled"
        cells.append(
            f'<th scope="col"{" class=best" if best else ""}><button type="button" class="frame"{seek} '
            f'aria-label="{text(say("the_best", label=label) if best else label)}" title="{text(title)}">'
            f'<img src="{text(result.frame(number))}" alt="" loading="lazy" decoding="async" width="96" height="54">'
            f"<span>{shown}</span></button></th>"
        )
    return "".join(cells)


def _row(name: str, values: np.ndarray, kind: str, times: np.ndarray) -> str:
    cells = []
    best = int(values.argmax())
    low, high = float(values.min()), float(values.max())
    for number, value in enumerate(values):
        heat = (value - low) / max(high - low, 1e-6)
        seek = f' data-seek="{times[number]:.3f}"' if number < len(times) else ""
        mark = " class=best" if number == best else ""
        cells.append(
            f'<td style="--heat:{heat:.2f}"{mark}{seek} title="{text(name)}: {value:.3f}">'
            f'<span class="number">{value:.2f}</span></td>'
        )
    return f'<tr class="{kind}"><th scope="row">{text(name)}</th>{"".join(cells)}</tr>'


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
