"""What the page says, in the language that the visitor's browser asks for.

What stands on the page from the start is translated by Gradio in the browser (`label`); what the server makes for a
visitor (results, reasons) it says itself in the same language (`Texts`).
"""

from functools import cache
from pathlib import Path

import gradio as gr
import yaml

from dmae.modeling import InputError
from dmae.retrieval import SearchHit

HERE = Path(__file__).parent
LANGUAGES = ("en", "de", "zh")  # the first where a browser asks for another
TABLE: dict[str, dict[str, str]] = yaml.safe_load((HERE / "texts.yaml").read_text(encoding="utf-8"))


class Texts:
    """The texts of one language."""

    def __init__(self, language: str):
        self.language = language

    def __call__(self, key: str, **values) -> str:
        return TABLE[key][self.language].format(**values)

    def count(self, key: str, count: int) -> str:
        """A number of things: `key` has a text for one and one for many."""
        return self(f"{key}_one" if count == 1 else f"{key}_many", count=f"{count:,}")

    def worth(self, hit: SearchHit) -> str:
        """How sure a result is; its score where that is not known, as for images."""
        if hit.confidence is None:
            return self("score", value=f"{hit.score:.3f}")
        return self("confidence", percent=round(100 * hit.confidence))

    def document(self, name: str) -> str:
        """A longer text: a Markdown file per language."""
        own = HERE / f"{name}.{self.language}.md"
        return (own if own.exists() else HERE / f"{name}.md").read_text(encoding="utf-8")


class UserError(InputError):
    """Something the visitor can put right, in one plain sentence: a text's key and what it names."""

    def __init__(self, key: str, **values):
        self.key, self.values = key, values
        super().__init__(Texts(LANGUAGES[0])(key, **values))

    def told(self, say: Texts) -> str:
        """The sentence in a visitor's language."""
        return say(self.key, **self.values)


@cache
def texts(language: str) -> Texts:
    return Texts(language)


def texts_for(request: gr.Request) -> Texts:
    """The texts of the language that a browser likes best, as the browser itself chooses."""
    wanted = request.headers.get("accept-language", "").split(",")[0].split("-")[0].split(";")[0].strip().lower()
    return texts(wanted if wanted in LANGUAGES else LANGUAGES[0])


def translations(**more: dict[str, str]) -> gr.I18n:
    """The table as Gradio takes it to the browser; `more` are further texts by key, filled in already."""
    known = TABLE | more
    table = {language: {key: words[language] for key, words in known.items()} for language in LANGUAGES}
    return gr.I18n(**table, **{"zh-CN": table["zh"]})


label = gr.I18n()  # label("search") stands for that text; the browser fills it in
