"""Which words of a text carry content: the weights w of the token-wise score (method.md, "Symbols")."""

import functools
import re

from .errors import InputError, MissingPackageError

WORD_WEIGHTINGS = ("stopwords", "pos", "none")
CONTENT_WEIGHT = 2.0
SPACY_MODEL = "en_core_web_sm"

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

# English function words: closed classes, auxiliaries, and the adverbs that modify rather than describe.
STOP_WORDS = frozenset(  # one text, not eighty quoted words
    """
    a an the this that these those some any each every either neither both all such no not nor only own same other
    another i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her
    hers herself it its itself they them their theirs themselves one ones who whom whose which what whatever someone
    something somebody anyone anything everyone everything nobody nothing there here
    be am is are was were been being isn't aren't wasn't weren't do does did doing done don't doesn't didn't have has
    had having hasn't haven't hadn't can could can't couldn't may might must shall should shouldn't will would won't
    wouldn't ought let lets let's it's he's she's that's there's they're we're you're i'm i've
    and or but if while because as until than so though although unless whether since once when where why how
    of at by for with about against between into through during before after above below to from up down in out on off
    over under onto upon across along around behind beside besides near within without toward towards via per
    again further then too very just also even still already ever never always often quite rather almost really
    more most less least few many much several now
    """.split()  # noqa: SIM905
)


def content_spans(text: str, weighting: str = "stopwords") -> list[tuple[int, int]]:
    """Character spans of the content words of `text`.

    Args:
        weighting: `"stopwords"` takes every word that is not a stop word; `"pos"`, the method's own, takes nouns,
            verbs and adjectives that are not stop words, by spaCy (no proper nouns, as in the release); `"none"`
            takes none.

    Raises:
        InputError: unknown weighting. MissingPackageError: `"pos"` without spaCy or its English model.
    """
    if weighting == "none":
        return []
    if weighting == "stopwords":
        return [m.span() for m in _WORD.finditer(text) if m.group().lower().replace("’", "'") not in STOP_WORDS]
    if weighting == "pos":
        tags = ("NOUN", "VERB", "ADJ")  # proper nouns are not among the release's
        return [
            (token.idx, token.idx + len(token.text))
            for token in _spacy_pipeline()(text)
            if token.pos_ in tags and not token.is_stop
        ]
    raise InputError(f"word_weighting must be one of {WORD_WEIGHTINGS}, got {weighting!r}")


@functools.lru_cache(maxsize=1)
def _spacy_pipeline():
    try:
        import spacy
    except ImportError as error:
        raise MissingPackageError(
            f"word_weighting='pos' needs spaCy: pip install spacy && python -m spacy download {SPACY_MODEL}"
        ) from error
    try:
        return spacy.load(SPACY_MODEL, disable=["parser", "ner", "lemmatizer"])
    except OSError as error:
        raise MissingPackageError(
            f"word_weighting='pos' needs spaCy's English model: python -m spacy download {SPACY_MODEL}"
        ) from error
