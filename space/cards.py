"""The results as a grid of cards, a button each; those of several queries side by side."""

from .library import Found, Query, Result
from .markup import message, moment, text
from .texts import Texts

DOUBT = 0.5  # confidence; where no result has it, nothing fits well
EAGER = 4  # pictures that are fetched at once; the others when they come near


def cards(found: list[tuple[Query, Found]], say: Texts, selected: int | None = 0, *, only_sure: bool = False) -> str:
    """HTML of each query's results, best first; `selected` is the place of the one that plays in the first list.

    Args:
        only_sure: those in doubt were left out.
    """
    lists = [
        silence(own, say)
        + (_list(number, own.results, say, selected if number == 0 else None) or _none(only_sure, say))
        for number, (_, own) in enumerate(found)
    ]
    said = say.count("found", sum(len(own.results) for _, own in found))
    if len(lists) == 1:
        return f'<div data-said="{text(said)}">{lists[0]}</div>'
    sides = "".join(
        f'<section aria-label="{text(query.label)}"><h2>{text(query.label)}</h2>{shown}</section>'
        for (query, _), shown in zip(found, lists)
    )
    return f'<div class="sides" data-said="{text(said)}">{sides}</div>'


def welcome(say: Texts) -> str:
    return message(say("welcome"), say("welcome_more"))


def silence(found: Found, say: Texts) -> str:
    """HTML that says that parts of the index did not answer; nothing where all did."""
    if not found.silent:
        return ""
    told = say("partial", answered=found.parts - found.silent, parts=found.parts)
    return f'<p class="doubt partial" role="status">{text(told)}</p>'


def _none(only_sure: bool, say: Texts) -> str:
    names = ("no_match", "none_so_sure") if only_sure else ("nothing_found", "nothing_passes")
    return message(*map(say, names))


def _list(number: int, results: list[Result], say: Texts, selected: int | None) -> str:
    if not results:
        return ""
    sure = [result.hit.confidence for result in results if result.hit.confidence is not None]
    doubt = bool(sure) and max(sure) < DOUBT
    told = f'<p class="doubt" role="status">{text(say("no_good_match"))}</p>' if doubt else ""
    items = "".join(_card(number, rank, result, rank - 1 == selected, say) for rank, result in enumerate(results, 1))
    return f'{told}<ol class="cards" aria-label="{text(say("results"))}">{items}</ol>'


def _card(number: int, rank: int, result: Result, selected: bool, say: Texts) -> str:
    hit = result.hit
    best, length = moment(hit.best_time, hit.duration), moment(hit.duration, hit.duration)
    worth = say.worth(hit)
    spoken = say("spoken", rank=rank, title=result.title, worth=worth)
    spoken += say("spoken_at", time=best) if best else ""
    times = f'<span class="time">{best}{" / " + length if length else ""}</span>' if best or length else ""
    own = "" if result.scope == "index" else f'<span class="own">{text(say("yours"))}</span>'
    loading = "eager" if rank <= EAGER else "lazy"
    return (
        f'<li><button type="button" class="card" aria-pressed="{str(selected).lower()}" aria-label="{text(spoken)}" '
        f'data-query="{number}" data-scope="{text(result.scope)}" data-id="{text(hit.id)}">'
        f'<span class="thumb"><img src="{text(result.frame(result.best_frame))}" alt="" loading="{loading}" '
        f'decoding="async" width="320" height="180">{times}{own}</span>'
        f'<span class="title">{text(result.title)}</span>'
        f'<span class="score"><span>{text(worth)}</span></span></button></li>'
    )
