"""The tab that says how it works, with a live comparison of the attentions."""

from dataclasses import replace

import gradio as gr

from .cards import silence
from .library import Found, Library, Query, Result
from .markup import message, text
from .services import Services
from .texts import LANGUAGES, Texts, UserError, label, texts, texts_for

CANDIDATES = 50
VARIANTS = {  # by the key of its text: textual attention, visual attention
    "both": (True, True),
    "textual": (True, False),
    "visual": (False, True),
    "neither": (False, False),
}


def compare(library: Library, query: Query, k: int = 5) -> dict[str, Found]:
    """The `CANDIDATES` best videos of the index, ranked anew by each of `VARIANTS`; k results each."""
    found = library.search(query, CANDIDATES)
    ids = [result.hit.id for result in found.results]
    ranked = {name: library.rescore(query, ids, *attentions).first(k) for name, attentions in VARIANTS.items()}
    return {name: replace(own, silent=max(own.silent, found.silent)) for name, own in ranked.items()}


def method_tab(tab: gr.Tab, services: Services, examples: list[str]) -> None:
    """Lays the tab out and wires it."""
    gr.Markdown(label("how_it_works"))
    with gr.Row(equal_height=True):
        query = gr.Textbox(
            examples[0] if examples else "",
            label=label("compare_query"),
            show_label=False,
            placeholder=label("compare_query"),
            scale=5,
            container=False,
            elem_id="compare-query",
        )
        button = gr.Button(label("compare"), variant="primary", scale=0, min_width=130, elem_id="compare")
    table = gr.HTML(elem_id="comparison", js_on_load=None, min_height=120)

    def ranked(sentence: str, request: gr.Request) -> str:
        say = texts_for(request)
        try:
            return _table(compare(services.library, services.library.ask(sentence)), say)
        except UserError as error:
            return message(say("compare_failed"), error.told(say), "error")

    triggers = [query.submit, button.click] + ([tab.select] if examples else [])
    for trigger in triggers:
        trigger(ranked, query, table, api_visibility="private", show_progress="minimal")
    gr.Markdown(label("compare_note"))


def documents() -> dict[str, dict[str, str]]:
    """The longer texts of the tab, by key and language."""
    told = {language: texts(language) for language in LANGUAGES}
    return {
        "how_it_works": {language: say.document("how_it_works") for language, say in told.items()},
        "compare_note": {language: say("compare_note", count=CANDIDATES) for language, say in told.items()},
    }


def _table(ranked: dict[str, Found], say: Texts) -> str:
    """HTML of the lists; the first is what the others are compared with."""
    worst = max(ranked.values(), key=lambda found: found.silent)
    first = [result.hit.id for result in next(iter(ranked.values())).results]
    lists = "".join(_list(say(name), found.results, first, say) for name, found in ranked.items())
    return f'{silence(worst, say)}<div class="variants">{lists}</div>'


def _list(name: str, results: list[Result], first: list[str], say: Texts) -> str:
    items = "".join(_item(result, _moved(result, rank, first, say)) for rank, result in enumerate(results))
    return f"<section><h3>{text(name)}</h3><ol>{items}</ol></section>"


def _moved(result: Result, rank: int, first: list[str], say: Texts) -> str:
    """How many ranks above (↑) or below (↓) its place in the first list a video is."""
    if result.hit.id not in first:
        return say("new")
    up = first.index(result.hit.id) - rank
    return f"{'↑' if up > 0 else '↓'}{abs(up)}" if up else ""


def _item(result: Result, moved: str) -> str:
    title = text(result.title)
    return (
        f'<li><img src="{text(result.frame(result.best_frame))}" alt="" loading="lazy" width="64" height="36">'
        f'<span class="name" title="{title}">{title}</span><span class="moved">{moved}</span>'
        f'<span class="value">{result.hit.score:.3f}</span></li>'
    )
