"""Words and stop words of many languages: which language a text is in, where its words are, which carry no content.

The libraries are asked for when a text needs them (`pip install 'dmae-video-search[languages]'`): stopwordsiso for the
stop words of 58 languages; jieba, Janome and PyThaiNLP for the words of Chinese, Japanese and Thai, which are written
without spaces. English needs none of them.
"""

import functools
import importlib
import re
import unicodedata
from collections import Counter, defaultdict
from types import ModuleType

from .errors import MissingPackageError

_CODES = (
    "af ar bg bn br ca cs da de el en eo es et eu fa fi fr ga gl gu ha he hi hr hu hy id it ja ko ku la lt lv mr ms "
    "nl no pl pt ro ru sk sl so st sv sw th tl tr uk ur vi yo zh zu"
)
LANGUAGES = tuple(_CODES.split())  # ISO 639-1
WITHOUT_SPACES = ("ja", "th", "zh")
INSTALL = "pip install 'dmae-video-search[languages]'"

# English function words: closed classes, auxiliaries, and the adverbs that modify rather than describe.
ENGLISH_STOP_WORDS = frozenset(  # one text, not eighty quoted words
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

# Languages of a script by letters that the script's other languages lack; the last has the letters all share.
_SCRIPTS = {
    "HIRAGANA": {"ja": ""},
    "KATAKANA": {"ja": ""},
    "CJK": {"zh": ""},
    "HANGUL": {"ko": ""},
    "THAI": {"th": ""},
    "DEVANAGARI": {"mr": "ळ", "hi": ""},
    "BENGALI": {"bn": ""},
    "GUJARATI": {"gu": ""},
    "HEBREW": {"he": ""},
    "GREEK": {"el": ""},
    "ARMENIAN": {"hy": ""},
    "ARABIC": {"ur": "ٹڈڑںے", "fa": "پچژگ", "ar": ""},
    "CYRILLIC": {"uk": "іїєґ", "ru": ""},
}
# Languages in Latin letters that are looked for; the rest must be named. More of them would find each other's words.
_TOLD_APART = (
    "cs", "da", "de", "en", "es", "fi", "fr", "hr", "hu", "id", "it", "nl", "no", "pl", "pt", "ro", "sv", "tr", "vi",
)  # fmt: skip


def detect_language(text: str) -> str | None:
    """The language of `text` by its script and, among Latin ones, by its stop words; None where neither tells.

    Without stopwordsiso every text in Latin letters counts as English.
    """
    scripts = Counter(_script(character) for character in text if character.isalpha())
    if not scripts:
        return "en"
    if scripts["HIRAGANA"] + scripts["KATAKANA"]:
        return "ja"  # which also has Chinese characters
    script = scripts.most_common(1)[0][0]
    if script == "LATIN":
        return _latin_language(text)
    candidates = _SCRIPTS.get(script, {})
    return next((code for code, letters in candidates.items() if not letters or set(letters) & set(text)), None)


@functools.lru_cache(maxsize=4096)
def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


def _latin_language(text: str) -> str:
    """The language with most of the text's words among its stop words; English unless another has clearly more.

    Where no word is a stop word the language makes no difference. One alone tells only beside a letter that English
    lacks: many a content word is a stop word elsewhere ("man", "car", "war").
    """
    try:
        owners = _latin_stop_words()
    except MissingPackageError:
        return "en"
    hits: Counter[str] = Counter()
    rarity: Counter[str] = Counter()  # of these words among languages: decides between close relatives
    for start, stop in words_between_spaces(text):
        languages = owners.get(_folded(text[start:stop]), ())
        hits.update(languages)
        rarity.update(dict.fromkeys(languages, 1 / max(1, len(languages))))
    best = max(hits, key=lambda language: (hits[language], rarity[language]), default="en")
    needed = hits["en"] + (2 if hits["en"] or text.isascii() else 1)
    return best if hits[best] >= needed else "en"


@functools.lru_cache(maxsize=1)
def _latin_stop_words() -> dict[str, tuple[str, ...]]:
    """Each stop word of the languages told apart here, and which of them have it."""
    owners: dict[str, list[str]] = defaultdict(list)
    for language in _TOLD_APART:
        for word in stop_words(language):
            if len(word) > 1 or language == "en":
                owners[word].append(language)
    return {word: tuple(languages) for word, languages in owners.items()}


@functools.cache
def stop_words(language: str) -> frozenset[str]:
    """Words of a language that carry no content, in lower case.

    Raises:
        MissingPackageError: stopwordsiso is not installed.
    """
    if language == "en":
        return ENGLISH_STOP_WORDS
    return frozenset(_folded(word) for word in _package("stopwordsiso", language).stopwords(language))


def words(text: str, language: str | None) -> list[tuple[int, int]]:
    """Character spans of the words of `text`.

    Raises:
        MissingPackageError: the language is written without spaces and its segmenter is not installed.
    """
    if language == "zh":
        spans = [(start, stop) for _, start, stop in _chinese().tokenize(text)]
    elif language == "ja":
        spans = _in_order(text, [token.surface for token in _japanese().tokenize(text)])
    elif language == "th":
        spans = _in_order(text, _package("pythainlp", language, "tokenize").word_tokenize(text, engine="newmm"))
    else:
        return words_between_spaces(text)
    return [span for span in spans if any(character.isalnum() for character in text[slice(*span)])]


def content_words(text: str, language: str | None) -> list[tuple[int, int]]:
    """Character spans of the words that are no stop words.

    Raises:
        MissingPackageError: a library that the language needs is not installed.
    """
    spans = words(text, language)
    stop = stop_words(language) if language else frozenset()
    return [(start, end) for start, end in spans if _folded(text[start:end]) not in stop]


def words_between_spaces(text: str) -> list[tuple[int, int]]:
    """Runs of letters, their marks and digits, with apostrophes and joiners inside them."""
    return [match.span() for match in _word_pattern().finditer(text)]


@functools.lru_cache(maxsize=1)
def _word_pattern() -> re.Pattern:
    # Vowel signs of Indian scripts and Arabic points are marks, which \w leaves out.
    marks = "".join(c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c) in ("Mn", "Mc"))
    letter = rf"(?:[^\W_]|[{re.escape(marks)}\u200c\u200d])"
    return re.compile(rf"[^\W_]{letter}*(?:['’]{letter}+)*")


def _folded(word: str) -> str:
    return word.lower().replace("’", "'")


def _in_order(text: str, parts: list[str]) -> list[tuple[int, int]]:
    """The spans of parts that follow one another in `text`; a segmenter may leave out spaces."""
    spans, cursor = [], 0
    for part in parts:
        start = text.find(part, cursor)
        if start >= 0:
            cursor = start + len(part)
            spans.append((start, cursor))
    return spans


@functools.lru_cache(maxsize=1)
def _chinese() -> ModuleType:
    jieba = _package("jieba", "zh")
    jieba.setLogLevel("ERROR")  # it announces that it loads its dictionary
    return jieba


@functools.lru_cache(maxsize=1)
def _japanese():
    return _package("janome", "ja", "tokenizer").Tokenizer()


def _package(name: str, language: str, module: str | None = None) -> ModuleType:
    try:
        return importlib.import_module(f"{name}.{module}" if module else name)
    except ImportError:
        raise MissingPackageError(
            f"words of language {language!r} need {name}: {INSTALL}, or set word_weighting='idf' or 'none'"
        ) from None
