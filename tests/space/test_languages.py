"""The page in the language of the browser."""

import re
import string

import gradio as gr
import pytest
from space_server import HOSTILE, QUERY

from dmae.space.texts import LANGUAGES, TABLE, UserError, texts, texts_for

WORDS = {  # the button, a tab, the heading, the player, an error, the tab about the method, that for programs
    "de-DE": (
        "Suchen",
        "Hinzufügen",
        "14 Videos",
        "bester Moment",
        "Schreiben Sie",
        "Was bei einer Suche",
        "Endpunkte",
    ),
    "zh-CN": ("搜索", "添加视频", "14 个视频", "最佳瞬间", "请写下", "搜索时发生了什么", "接口"),
    "fr-FR": ("Search", "Add videos", "14 videos", "best moment", "Write what", "What happens when", "Endpoints"),
}


def names_in(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", sorted(TABLE))
def test_every_text_is_there_in_every_language_and_names_the_same(key):
    by_language = TABLE[key]
    assert set(by_language) == set(LANGUAGES)
    assert all(isinstance(text, str) and text.strip() for text in by_language.values())
    assert len({frozenset(names_in(text)) for text in by_language.values()}) == 1


@pytest.mark.parametrize("name", ["usage", "how_it_works"])
@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_a_document_shows_the_same_code_in_every_language(name, language):
    told, english = texts(language).document(name), texts(LANGUAGES[0]).document(name)
    assert told != english and told.count("\n| ") == english.count("\n| ")
    for pattern in (r"```.*?```", r"^\| `(\S+)` \|"):
        assert re.findall(pattern, told, re.S | re.M) == re.findall(pattern, english, re.S | re.M)


@pytest.mark.parametrize(
    ("header", "language"),
    [("de", "de"), ("de-AT,en;q=0.5", "de"), ("zh-TW", "zh"), ("fr,de;q=0.9", "en"), ("", "en"), (";;,,", "en")],
)
def test_the_language_is_the_one_that_the_browser_likes_best(header, language):
    request = gr.Request(headers={"accept-language": header})
    assert texts_for(request).language == language


def test_a_reason_is_told_in_a_visitors_language_and_holds_what_they_wrote():
    error = UserError("no_video_name", name=HOSTILE)
    assert HOSTILE in str(error) and "not a video file" in str(error)
    assert HOSTILE in error.told(texts("de")) and "keine Videodatei" in error.told(texts("de"))


@pytest.mark.browser
@pytest.mark.parametrize("locale", sorted(WORDS))
def test_the_whole_page_speaks_the_language_of_the_browser(visit, locale):
    button, tab, heading, player, error, about, programs = WORDS[locale]
    visitor = visit(locale=locale)
    visitor.open()
    page = visitor.page
    assert page.inner_text("#search") == button and heading in page.inner_text("#heading")
    assert page.evaluate("document.documentElement.lang") == (locale[:2] if locale[:2] in LANGUAGES else "en")
    visitor.search(QUERY)
    assert player in page.inner_text("#detail")
    visitor.search(" ")
    assert error in page.inner_text("#results")
    visitor.keep(f"language-{locale}")
    page.click(f"button[role=tab]:has-text('{tab}')")
    page.click("button[role=tab] >> nth=2")
    page.wait_for_selector(f"text={about}")
    page.click("button[role=tab] >> nth=3")
    page.wait_for_selector(f"#usage h3:has-text('{programs}')")
    assert "__i18n__" not in page.inner_text("body")
