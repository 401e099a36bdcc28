"""The chosen video from its best moment, with the frames it was compared by and the words × frames heat map."""

import numpy as np

from .library import Result, Watched
from .markup import moment, text
from .media import SAME_MOMENT
from .texts import Texts
from .timeline import timeline

NOTHING_CHOSEN = '<div class="player empty" aria-hidden="true"></div>'


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
        f'<div class="caption"><h2>{text(result.title)}</h2><p>{" · ".join(facts)}</p></div>'
        f"{timeline(watched, say, cuts)}{_heat_map(watched, say)}</section>"
    )


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
        "<table>"
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
