"""What the page says, in the language that the visitor's browser asks for.

What stands on the page from the start is translated by Gradio in the browser (`label`); what the server makes for a
visitor (results, reasons) it says itself in the same language (`Texts`).
"""

import gradio as gr

from dmae.modeling import InputError

from .languages import LANGUAGES, TABLE, Texts, texts, texts_wanted

__all__ = ["LANGUAGES", "TABLE", "Texts", "UserError", "label", "texts", "texts_for", "translations"]


class UserError(InputError):
    """Something the visitor can put right, in one plain sentence: a text's key and what it names."""

    def __init__(self, key: str, **values):
        self.key, self.values = key, values
        super().__init__(Texts(LANGUAGES[0])(key, **values))

    def told(self, say: Texts) -> str:
        """The sentence in a visitor's language."""
        return say(self.key, **self.values)


def texts_for(request: gr.Request) -> Texts:
    """The texts of a visitor's language."""
    return texts_wanted(request.headers.get("accept-language", ""))


def translations(**more: dict[str, str]) -> gr.I18n:
    """The table as Gradio takes it to the browser; `more` are further texts by key, filled in already."""
    known = TABLE | more
    table = {language: {key: words[language] for key, words in known.items()} for language in LANGUAGES}
    return gr.I18n(**table, **{"zh-CN": table["zh"]})


label = gr.I18n()  # label("search") stands for that text; the browser fills it in
