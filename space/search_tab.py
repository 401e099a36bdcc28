"""The search tab: a query, a grid of results, and the chosen one playing from its best moment."""

import gradio as gr

from dmae.modeling import IMAGE_SUFFIXES, VIDEO_SUFFIXES, VideoDecodeError

from .cards import WELCOME, cards
from .library import MAX_QUERY, Query, UserError
from .markup import message
from .player import NOTHING_CHOSEN, player
from .services import Services

PAGE = 12
# A result was chosen: the page tells which; its highlight does not wait for the answer.
ON_LOAD = """element.addEventListener('click', (event) => {
  const card = event.target.closest('.card');
  if (!card) return;
  element.querySelectorAll('.card').forEach((other) => other.setAttribute('aria-pressed', other === card));
  trigger('select', {scope: card.dataset.scope, id: card.dataset.id});
});"""
SHARE = "(text) => { window.dmae.share(text); return text; }"
REVEAL = "() => window.dmae.reveal()"


def search_tab(page: gr.Blocks, services: Services, examples: list[str]) -> None:
    """Lays the tab out and wires it."""
    asked, count = gr.State(None, time_to_live=60 * services.settings.session_minutes), gr.State(PAGE)
    with gr.Row(elem_classes="ask", equal_height=True):
        text = gr.Textbox(
            placeholder="Describe a moment",
            label="What should the video show?",
            show_label=False,
            max_length=MAX_QUERY,
            autofocus=True,
            scale=5,
            elem_id="query",
            container=False,
        )
        button = gr.Button("Search", variant="primary", scale=0, min_width=130, elem_id="search")
    chips = []
    with gr.Row(elem_classes="chips"):
        for example in examples:
            chips.append(gr.Button(example, size="sm", variant="secondary", min_width=40))
    with gr.Accordion("By length, image or video", open=False, elem_id="more"):
        with gr.Row():
            shortest = gr.Number(None, label="At least (seconds)", placeholder="any", elem_id="shortest")
            longest = gr.Number(None, label="At most (seconds)", placeholder="any", elem_id="longest")
        example_file = gr.File(
            label="Find videos like this image or video",
            file_types=sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES),
            height=120,
            elem_id="example",
        )
    with gr.Row(elem_classes="found", equal_height=False):
        with gr.Column(scale=5, min_width=320):
            results = gr.HTML(WELCOME, elem_id="results", js_on_load=ON_LOAD)
            more = gr.Button("Show more", visible=False, elem_id="show-more")
        with gr.Column(scale=4, min_width=320, elem_classes="side"):
            detail = gr.HTML(NOTHING_CHOSEN, elem_id="detail", js_on_load=None)
    outputs = [results, detail, asked, count, more]
    handlers = _Handlers(services)
    filters = [shortest, longest]
    options = {"api_visibility": "private", "show_progress_on": [results], "show_progress": "minimal"}

    for trigger in (text.submit, button.click):
        trigger(handlers.ask, [text, *filters], outputs, **options).then(None, text, None, js=SHARE)
    for chip in chips:
        shown = chip.click(lambda example=chip.value: example, None, text, api_visibility="private", queue=False)
        shown.then(handlers.ask, [text, *filters], outputs, **options).then(None, text, None, js=SHARE)
    for box in filters:
        box.submit(handlers.again, [asked, *filters], outputs, **options)
        box.blur(handlers.again, [asked, *filters], outputs, **options)
    example_file.upload(handlers.ask_example, [example_file, *filters], outputs, **options)
    more.click(handlers.more, [asked, count, *filters], [results, count, more], **options)
    results.select(
        handlers.choose, asked, detail, api_visibility="private", trigger_mode="always_last", show_progress="hidden"
    ).then(None, None, None, js=REVEAL)
    page.load(None, None, filters, js="() => [null, null]")  # Gradio shows 0 where there is no value
    page.load(handlers.restore, None, [text, *outputs], api_visibility="private", show_progress="hidden")


class _Handlers:
    """What the page asks of the server. None of it is an API of its own; see `api`."""

    def __init__(self, services: Services):
        self._services = services

    def ask(self, text: str, shortest, longest, request: gr.Request):
        return self._answer(lambda: self._services.library.ask(text), (shortest, longest), request)

    def again(self, asked: Query | None, shortest, longest, request: gr.Request):
        if asked is None:
            return [gr.skip()] * 5
        return self._answer(lambda: asked, (shortest, longest), request)

    def ask_example(self, file: str | None, shortest, longest, request: gr.Request):
        return self._answer(lambda: self._services.ask_example(file), (shortest, longest), request)

    def more(self, asked: Query | None, count: int, shortest, longest, request: gr.Request):
        if asked is None:
            return [gr.skip()] * 3
        found = self._find(asked, count + PAGE + 1, (shortest, longest), request)
        return cards(found[: count + PAGE], None), count + PAGE, gr.update(visible=len(found) > count + PAGE)

    def choose(self, asked: Query | None, event: gr.EventData, request: gr.Request):
        if asked is None:
            return gr.skip()
        shelf = self._services.shelves.of(request.session_hash)
        try:
            chosen = self._services.library.explain(asked, str(event.scope), str(event.id), shelf)
        except UserError as error:
            return message("Not here any more", str(error), "error")
        return player(*chosen)

    def restore(self, request: gr.Request):
        """The search that the page's address names, if it names one."""
        text = request.query_params.get("q", "").strip()
        if not text:
            return [gr.skip()] * 6
        return [text, *self.ask(text, None, None, request)]

    def _answer(self, make_query, seconds, request: gr.Request):
        """Results, player, query, number shown and whether there are more; or what is wrong in plain words."""
        try:
            query = make_query()
            found = self._find(query, PAGE + 1, seconds, request)
            detail = NOTHING_CHOSEN
            if found:
                shelf = self._services.shelves.of(request.session_hash)
                detail = player(*self._services.library.explain(query, found[0].scope, found[0].hit.id, shelf))
        except (UserError, VideoDecodeError) as error:
            told = message("That search did not work", str(error), "error")
            return told, NOTHING_CHOSEN, None, PAGE, gr.update(visible=False)
        return cards(found[:PAGE]), detail, query, PAGE, gr.update(visible=len(found) > PAGE)

    def _find(self, query: Query, k: int, seconds, request: gr.Request):
        shelf = self._services.shelves.of(request.session_hash)
        return self._services.library.search(query, min(k, 100), shelf=shelf, seconds=seconds)
