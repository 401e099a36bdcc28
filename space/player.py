"""The chosen video from its best moment, with the frames it was compared by and the words × frames heat map."""

import numpy as np

from dmae.retrieval import Explanation

from .library import Result
from .markup import moment, text
from .texts import Texts

NOTHING_CHOSEN = '<div class="player empty" aria-hidden="true"></div>'


def player(result: Result, explanation: Explanation, say: Texts) -> str:
    """HTML of one result."""
    hit = result.hit
    start = hit.best_time or 0.0
    facts = [say("score", value=f"{hit.score:.3f}")]
    if hit.best_time is not None:
        facts.append(say("best_moment", time=moment(hit.best_time, hit.duration)))
    if hit.duration:
        facts.append(say("length", time=moment(hit.duration, hit.duration)))
    return (
        f'<section class="player" aria-label="{text(result.title)}">'
        f'<div class="screen"><video src="{text(result.video)}#t={start:.3f}" data-start="{start:.3f}" '
        f'poster="{text(result.frame(result.best_frame))}" controls muted playsinline preload="auto" '
        f'aria-label="{text(say("from_best", title=result.title))}"></video>'
        f'<p class="unplayable" hidden>{text(say("unplayable"))}</p></div>'
        f'<div class="caption"><h2>{text(result.title)}</h2><p>{" · ".join(facts)}</p></div>'
        f"{_heat_map(result, explanation, say)}</section>"
    )


def _heat_map(result: Result, explanation: Explanation, say: Texts) -> str:
    rows = [(say("whole_query"), explanation.sentence_similarity, "sentence")]
    rows += [
        (word, similarity, "content" if weight > 1 else "")
        for word, similarity, weight in zip(explanation.words, explanation.similarity, explanation.word_weights)
    ]
    body = "".join(_row(name, values, kind, explanation.frame_times) for name, values, kind in rows)
    head = f'<th scope="col">{text(say("frame"))}</th>{_strip(result, explanation.frame_times, say)}'
    return (
        f'<div class="heat" tabindex="0" role="region" aria-label="{text(say("why"))}" aria-describedby="heat-help">'
        "<table>"
        f"<thead><tr>{head}</tr></thead>"
        f'<tbody>{body}</tbody></table></div><p class="help" id="heat-help">{text(say("heat_help"))}</p>'
    )


def _strip(result: Result, times: np.ndarray, say: Texts) -> str:
    cells = []
    for number, score in enumerate(result.hit.frame_scores):
        time = times[number] if number < len(times) else None
        best = number == result.best_frame
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
