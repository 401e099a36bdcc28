"""The tab that says how it works, with a live comparison of the attentions."""

from pathlib import Path

import gradio as gr

from .comparison import CANDIDATES, compare
from .library import UserError
from .markup import message, text
from .services import Services

ABOUT = (Path(__file__).parent / "how_it_works.md").read_text(encoding="utf-8")


def method_tab(services: Services, examples: list[str]) -> None:
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

    for trigger in (query.submit, button.click):
        trigger(ranked, query, table, api_visibility="private", show_progress="minimal")
    gr.Markdown(f"Each list ranks the same {CANDIDATES} best candidates. Scores of different lists do not compare.")


def _table(ranked: dict) -> str:
    sections = "".join(
        f"<section><h3>{text(name)}</h3><ol>{''.join(map(_item, results))}</ol></section>"
        for name, results in ranked.items()
    )
    return f'<div class="variants">{sections}</div>'


def _item(result) -> str:
    return (
        f'<li><img src="{text(result.frame(result.best_frame))}" alt="" loading="lazy" width="64" height="36">'
        f'<span class="name" title="{text(result.title)}">{text(result.title)}</span>'
        f'<span class="value">{result.hit.score:.3f}</span></li>'
    )
