"""The tab that says how it works, with a live comparison of the attentions."""

from pathlib import Path

import gradio as gr

from .comparison import CANDIDATES, compare
from .library import Result, UserError
from .markup import message, text
from .services import Services

ABOUT = (Path(__file__).parent / "how_it_works.md").read_text(encoding="utf-8")


def method_tab(tab: gr.Tab, services: Services, examples: list[str]) -> None:
    """Lays the tab out and wires it."""
    gr.Markdown(ABOUT)
    with gr.Row(equal_height=True):
        query = gr.Textbox(
            examples[0] if examples else "",
            label="Query to compare",
            show_label=False,
            placeholder="A query to compare",
            scale=5,
            container=False,
            elem_id="compare-query",
        )
        button = gr.Button("Compare", variant="primary", scale=0, min_width=130, elem_id="compare")
    table = gr.HTML(elem_id="comparison", js_on_load=None, min_height=120)

    def ranked(sentence: str) -> str:
        try:
            return _table(compare(services.library, services.library.ask(sentence)))
        except UserError as error:
            return message("That comparison did not work", str(error), "error")

    triggers = [query.submit, button.click] + ([tab.select] if examples else [])
    for trigger in triggers:
        trigger(ranked, query, table, api_visibility="private", show_progress="minimal")
    gr.Markdown(
        f"Each list ranks the same {CANDIDATES} best candidates, or all where there are fewer; arrows tell how many "
        "ranks a video moved against the first list. Scores of different lists do not compare."
    )


def _table(ranked: dict) -> str:
    """HTML of the lists; the first is what the others are compared with."""
    first = [result.hit.id for result in next(iter(ranked.values()))]
    return f'<div class="variants">{"".join(_list(name, results, first) for name, results in ranked.items())}</div>'


def _list(name: str, results: list[Result], first: list[str]) -> str:
    items = "".join(_item(result, _moved(result, rank, first)) for rank, result in enumerate(results))
    return f"<section><h3>{text(name)}</h3><ol>{items}</ol></section>"


def _moved(result: Result, rank: int, first: list[str]) -> str:
    """How many ranks above (↑) or below (↓) its place in the first list a video is."""
    if result.hit.id not in first:
        return "new"
    up = first.index(result.hit.id) - rank
    return f"{'↑' if up > 0 else '↓'}{abs(up)}" if up else ""


def _item(result: Result, moved: str) -> str:
    title = text(result.title)
    return (
        f'<li><img src="{text(result.frame(result.best_frame))}" alt="" loading="lazy" width="64" height="36">'
        f'<span class="name" title="{title}">{title}</span><span class="moved">{moved}</span>'
        f'<span class="value">{result.hit.score:.3f}</span></li>'
    )
