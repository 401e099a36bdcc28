"""Which words of a text carry content: the weights w of the token-wise score (method.md, "Symbols")."""

import functools
import importlib
import math
import re
import warnings
from collections.abc import Iterable
from typing import Any

from .errors import InputError, MissingPackageError
from .languages import LANGUAGES, WITHOUT_SPACES, content_words, detect_language, words

WORD_WEIGHTINGS = ("stopwords", "pos", "idf", "none")
CONTENT_WEIGHT = 2.0


def content_spans(text: str, weighting: str = "stopwords", language: str | None = None) -> list[tuple[int, int]]:
    """Character spans of the content words of `text`.

    Args:
        weighting: `"stopwords"` takes every word that is not a stop word; `"pos"`, the method's own, takes nouns,
            verbs and adjectives that are not stop words, by spaCy (no proper nouns, as in the release); `"none"`
            takes none.
        language: ISO 639-1 code; found by the text's script and stop words where None. `"pos"` takes None as English.

    Raises:
        InputError: unknown weighting or language.
        MissingPackageError: a library that the given language needs is not installed; where the language was found,
            words weigh alike then and a warning says what to install.
    """
    check_language(language)
    if weighting == "none":
        return []
    if weighting == "stopwords":
        try:
            return content_words(text, language or detect_language(text))
        except MissingPackageError as missing:
            if language is not None:
                raise
            warnings.warn(f"words weigh alike: {missing}", stacklevel=2)
            return []
    if weighting == "pos":
        tags = ("NOUN", "VERB", "ADJ")  # proper nouns are not among the release's
        return [
            (token.idx, token.idx + len(token.text))
            for token in _spacy_pipeline(language or "en")(text)
            if token.pos_ in tags and not token.is_stop
        ]
    raise InputError(f"word_weighting must be one of {WORD_WEIGHTINGS}, got {weighting!r}")


def word_spans(text: str, language: str | None = None) -> list[tuple[int, int]]:
    """Character spans of the words of `text`, punctuation included where spaces part words.

    So do they where a library is missing that finds the words of a language without spaces.
    """
    language = language or detect_language(text)
    if language in WITHOUT_SPACES:
        try:
            return words(text, language)
        except MissingPackageError:
            pass
    return [match.span() for match in re.finditer(r"\S+", text)]


def check_language(language: str | None) -> None:
    if language is not None and language not in LANGUAGES:
        raise InputError(f"language must be one of {', '.join(LANGUAGES)}, or None to find it, got {language!r}")


class TokenFrequencies:
    """In how many captions each token stands, from which `word_weighting="idf"` weighs tokens of any language.

    A token weighs `1 + log((N + 1) / (n + 1)) / log(N + 1)` where it stands in n of N captions: 1 where it stands in
    all, as the start and the end do, 2 where it stands in none.

    Args:
        captions: N. counts: n of each token id that stands in any caption.
    """

    def __init__(self, captions: int, counts: dict[int, int]):
        if captions < 1 or any(not 0 < count <= captions for count in counts.values()):
            raise InputError("token frequencies need at least one caption, and no token in more than there are")
        self.captions, self.counts = captions, counts

    @classmethod
    def of(cls, captions: Iterable[Iterable[int]]) -> "TokenFrequencies":
        """Counted in captions given as token ids."""
        total, counts = 0, {}
        for ids in captions:
            total += 1
            for token in set(ids):
                counts[token] = counts.get(token, 0) + 1
        return cls(total, counts)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TokenFrequencies":
        """As `to_dict` wrote it; JSON turns the ids into texts."""
        return cls(values["captions"], {int(token): count for token, count in values["counts"].items()})

    def to_dict(self) -> dict[str, Any]:
        return {"captions": self.captions, "counts": self.counts}

    def weight(self, token: int) -> float:
        most = math.log(self.captions + 1)
        return 1.0 + (most - math.log(self.counts.get(token, 0) + 1)) / most


@functools.lru_cache(maxsize=2)
def _spacy_pipeline(language: str):
    kind = "web" if language in ("en", "zh") else "news"
    name = f"{language}_core_{kind}_sm"
    try:
        spacy = importlib.import_module("spacy")
    except ImportError as error:
        raise MissingPackageError(
            f"word_weighting='pos' needs spaCy: pip install spacy && python -m spacy download {name}"
        ) from error
    try:
        return spacy.load(name, disable=["parser", "ner", "lemmatizer"])
    except OSError as error:
        raise MissingPackageError(
            f"word_weighting='pos' needs spaCy's model of language {language!r}: python -m spacy download {name}"
        ) from error
