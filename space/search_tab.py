"""The search tab: queries, a grid of results for each, and the chosen one playing from its best moment."""

from dataclasses import dataclass

import gradio as gr

from dmae.modeling import IMAGE_SUFFIXES, VIDEO_SUFFIXES, VideoDecodeError

from .cards import cards, welcome
from .library import MAX_QUERY, MAX_RESULTS, Query, Where
from .markup import message
from .player import NOTHING_CHOSEN, player
from .services import Services
from .texts import Texts, UserError, label, texts_for

PAGE, SIDE_PAGE = 12, 6  # results of a query shown at first, and as many more at a time; of one among several
# A result was chosen: the page tells which; its highlight does not wait for the answer.
ON_LOAD = """element.addEventListener('click', (event) => {
  const card = event.target.closest('.card');
  if (!card) return;
  element.querySelectorAll('.card').forEach((other) => other.setAttribute('aria-pressed', other === card));
  trigger('select', {scope: card.dataset.scope, id: card.dataset.id, query: card.dataset.query});
});
window.dmae.announce(element);"""
SHARE = "(text) => { window.dmae.share(text); return text; }"
REVEAL = "() => window.dmae.reveal()"


@dataclass(frozen=True, eq=False)
class Asked:
    """What a visitor is looking at: their queries, and how many results of each."""

    queries: list[Query]
    count: int

    @property
    def page(self) -> int:
        return PAGE if len(self.queries) == 1 else SIDE_PAGE


def search_tab(page: gr.Blocks, services: Services, examples: list[str]) -> gr.Row:
    """Lays the tab out and wires it.

    Returns:
        the row where visitors with videos of their own choose where to search, hidden for the others.
    """
    asked = gr.State(None, time_to_live=60 * services.settings.session_minutes)
    text, button = _question()
    chips = []
    with gr.Row(elem_classes="chips"):
        for example in examples:
            chips.append(gr.Button(example, size="sm", variant="secondary", min_width=40))
    with gr.Row(visible=False, elem_id="where") as where:
        in_index = gr.Checkbox(True, label=label("in_index"), container=False, elem_id="in-index")
        in_mine = gr.Checkbox(True, label=label("in_mine"), container=False, elem_id="in-mine")
    here = not services.settings.backend  # where a search service answers, it reads texts and keeps copies
    sure = _percent(services)
    shortest, longest, least, distinct, example_file = _more_ways(here, sure)
    with gr.Row(elem_classes="found", equal_height=False):
        with gr.Column(scale=5, min_width=320):
            results = gr.HTML(elem_id="results", js_on_load=ON_LOAD)
            more = gr.Button(label("show_more"), visible=False, elem_id="show-more")
        with gr.Column(scale=4, min_width=320, elem_classes="side"):
            detail = gr.HTML(NOTHING_CHOSEN, elem_id="detail", js_on_load=None)
    outputs = [results, detail, asked, more]
    handlers = _Handlers(services, examples)
    limits = [shortest, longest, in_index, in_mine, distinct, least]
    options = {"api_visibility": "private", "show_progress_on": [results], "show_progress": "minimal"}

    for trigger in (text.submit, button.click):
        trigger(handlers.ask, [text, *limits], outputs, **options).then(None, text, None, js=SHARE)
    for chip in chips:
        shown = chip.click(lambda example=chip.value: example, None, text, api_visibility="private", queue=False)
        shown.then(handlers.ask, [text, *limits], outputs, **options).then(None, text, None, js=SHARE)
    numbers = [event for number in (shortest, longest, least) for event in (number.submit, number.blur)]
    for changed in (*numbers, in_index.input, in_mine.input, distinct.input):
        changed(handlers.again, [asked, *limits], outputs, **options)
    example_file.upload(handlers.ask_example, [example_file, *limits], outputs, **options)
    more.click(handlers.more, [asked, *limits], [results, asked, more], **options)
    results.select(
        handlers.choose, asked, detail, api_visibility="private", trigger_mode="always_last", show_progress="hidden"
    ).then(None, None, None, js=REVEAL)
    # Gradio shows 0 where there is no value.
    page.load(None, None, [shortest, longest, least], js=f"() => [null, null, {sure or 'null'}]")
    page.load(handlers.restore, None, [text, *outputs], api_visibility="private", show_progress="hidden")
    return where


def _question() -> tuple[gr.Textbox, gr.Button]:
    with gr.Row(elem_classes="ask", equal_height=True):
        text = gr.Textbox(
            placeholder=label("describe"),
            label=label("question"),
            show_label=False,
            max_length=MAX_QUERY,
            autofocus=True,
            scale=5,
            elem_id="query",
            container=False,
        )
        return text, gr.Button(label("search"), variant="primary", scale=0, min_width=130, elem_id="search")


def _more_ways(here: bool, sure: int) -> tuple[gr.Number, gr.Number, gr.Number, gr.Checkbox, gr.File]:
    """The shortest and the longest duration, the least confidence (in percent, `sure` until it is changed), whether
    copies are left out, and an example; the last two only `here`."""
    with gr.Accordion(label("more_ways"), open=False, elem_id="more"):
        with gr.Row():
            shortest = gr.Number(None, label=label("at_least"), placeholder=label("any"), elem_id="shortest")
            longest = gr.Number(None, label=label("at_most"), placeholder=label("any"), elem_id="longest")
            least = gr.Number(sure or None, label=label("this_sure"), placeholder=label("any"), elem_id="sure")
        distinct = gr.Checkbox(False, label=label("distinct"), container=False, elem_id="distinct", visible=here)
        example = gr.File(
            label=label("like_this"),
            file_types=sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES),
            height=120,
            elem_id="example",
            visible=here,
        )
        if not here:
            gr.Markdown(label("reads_texts"))
    return shortest, longest, least, distinct, example


class _Handlers:
    """What the page asks of the server. None of it is an API of its own; see `api`."""

    def __init__(self, services: Services, examples: list[str]):
        self._services = services
        self._first = examples[0] if examples else ""
        self._sure = _percent(services)

    def ask(self, text: str, shortest, longest, in_index, in_mine, distinct, least, request: gr.Request):
        where = _where(shortest, longest, in_index, in_mine, distinct, least)
        return self._answer(lambda: self._services.library.ask_all(text), where, request)

    def again(self, asked: Asked | None, shortest, longest, in_index, in_mine, distinct, least, request: gr.Request):
        if asked is None:
            return [gr.skip()] * 4
        where = _where(shortest, longest, in_index, in_mine, distinct, least)
        return self._answer(lambda: asked.queries, where, request)

    def ask_example(
        self, file: str | None, shortest, longest, in_index, in_mine, distinct, least, request: gr.Request
    ):
        where = _where(shortest, longest, in_index, in_mine, distinct, least)
        return self._answer(lambda: [self._services.ask_example(file)], where, request)

    def more(self, asked: Asked | None, shortest, longest, in_index, in_mine, distinct, least, request: gr.Request):
        if asked is None:
            return [gr.skip()] * 3
        asked = Asked(asked.queries, asked.count + asked.page)
        where = _where(shortest, longest, in_index, in_mine, distinct, least)
        found, left = self._find(asked, where, request)
        shown = cards(found, texts_for(request), None, only_sure=bool(where.min_confidence))
        return shown, asked, gr.update(visible=left)

    def choose(self, asked: Asked | None, event: gr.EventData, request: gr.Request):
        number = str(event.query)
        if asked is None or not number.isdecimal() or int(number) >= len(asked.queries):
            return gr.skip()
        return self._play(asked.queries[int(number)], str(event.scope), str(event.id), texts_for(request), request)

    def restore(self, request: gr.Request):
        """The search that the page's address names, else the first example, so that a first visit shows something."""
        text = request.query_params.get("q", "").strip() or self._first
        if not text:
            return ["", welcome(texts_for(request)), *[gr.skip()] * 3]
        return [text, *self.ask(text, None, None, True, True, False, self._sure, request)]

    def _answer(self, make_queries, where: Where, request: gr.Request):
        """Results, player, what was asked and whether there is more; or what is wrong in plain words."""
        say, detail, asked = texts_for(request), NOTHING_CHOSEN, None
        try:
            queries = make_queries()
            asked = Asked(queries, PAGE if len(queries) == 1 else SIDE_PAGE)
            found, left = self._find(asked, where, request)
            query, best = found[0][0], found[0][1].results[:1]
            if best:
                detail = self._play(query, best[0].scope, best[0].hit.id, say, request)
        except (UserError, VideoDecodeError) as error:
            reason = error.told(say) if isinstance(error, UserError) else str(error)
            return message(say("search_failed"), reason, "error"), detail, asked, gr.update(visible=False)
        return cards(found, say, only_sure=bool(where.min_confidence)), detail, asked, gr.update(visible=left)

    def _find(self, asked: Asked, where: Where, request: gr.Request):
        """Each query with its results, and whether there are more of any."""
        shelf = self._services.shelves.of(request.session_hash)
        wanted, library = min(asked.count + 1, MAX_RESULTS), self._services.library
        found = [(query, library.search(query, wanted, shelf=shelf, where=where)) for query in asked.queries]
        left = any(len(own.results) > asked.count for _, own in found)
        return [(query, own.first(asked.count)) for query, own in found], left

    def _play(self, query: Query, scope: str, video_id: str, say: Texts, request: gr.Request) -> str:
        shelf = self._services.shelves.of(request.session_hash)
        try:
            watched = self._services.library.watch(query, scope, video_id, shelf)
        except UserError as error:
            return message(say("gone"), error.told(say), "error")
        media = self._services.media
        return player(watched, say, plays=media.plays(watched.result), cuts=media.cuts(watched.result))


def _percent(services: Services) -> int:
    """The least confidence of results, until a visitor asks for another."""
    return round(100 * services.settings.min_confidence)


def _where(shortest, longest, in_index: bool, in_mine: bool, distinct: bool, least: float | None) -> Where:
    """What a visitor searches, with the least confidence as they wrote it, in percent."""
    sure = min(max(least or 0, 0), 100) / 100
    return Where((shortest, longest), in_index, in_mine, distinct, sure or None)
