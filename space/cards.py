"""The results as a grid of cards, a button each."""

from .library import Result
from .markup import message, moment, text

NO_RESULTS = message("Nothing found", "No video passes the filter. Widen it, or search for something else.")
WELCOME = message("Search by describing a moment", "Write what is to be seen and press Enter. The best moment plays.")


def cards(results: list[Result], selected: int | None = 0) -> str:
    """HTML of the results, best first; `selected` is the one that plays."""
    if not results:
        return NO_RESULTS
    items = "".join(_card(rank, result, rank - 1 == selected) for rank, result in enumerate(results, 1))
    return f'<ol class="cards" aria-label="Search results">{items}</ol>'


def _card(rank: int, result: Result, selected: bool) -> str:
    hit = result.hit
    best, length = moment(hit.best_time, hit.duration), moment(hit.duration, hit.duration)
    spoken = f"{rank}. {result.title}, score {hit.score:.3f}" + (f", best moment at {best}" if best else "")
    times = f'<span class="time">{best}{" / " + length if length else ""}</span>' if best or length else ""
    own = "" if result.scope == "index" else '<span class="own">yours</span>'
    # Only the first row's pictures are fetched at once; the others when they come near.
    loading = "eager" if rank <= 4 else "lazy"
    return (
        f'<li><button type="button" class="card" aria-pressed="{str(selected).lower()}" aria-label="{text(spoken)}" '
        f'data-scope="{text(result.scope)}" data-id="{text(hit.id)}">'
        f'<span class="thumb"><img src="{text(result.frame(result.best_frame))}" alt="" loading="{loading}" '
        f'decoding="async" width="320" height="180">{times}{own}</span>'
        f'<span class="title">{text(result.title)}</span>'
        f'<span class="score"><span>{hit.score:.3f}</span></span></button></li>'
    )
