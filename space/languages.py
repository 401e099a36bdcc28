"""What the page says, in each of its languages. It takes no library that is slow to import."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
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

    def worth(self, hit: "SearchHit") -> str:
        """How sure a result is; its score where that is not known, as for images."""
        if hit.confidence is None:
            return self("score", value=f"{hit.score:.3f}")
        return self("confidence", percent=round(100 * hit.confidence))

    def document(self, name: str) -> str:
        """A longer text: a Markdown file per language."""
        own = HERE / f"{name}.{self.language}.md"
        return (own if own.exists() else HERE / f"{name}.md").read_text(encoding="utf-8")


@cache
def texts(language: str) -> Texts:
    return Texts(language)


def texts_wanted(accepted: str) -> Texts:
    """The texts of the language that a browser likes best, as the browser itself chooses.

    Args:
        accepted: its header `Accept-Language`.
    """
    wanted = accepted.split(",")[0].split("-")[0].split(";")[0].strip().lower()
    return texts(wanted if wanted in LANGUAGES else LANGUAGES[0])
