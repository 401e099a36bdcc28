"""Results say how sure they are, and when nothing fits."""

from dataclasses import replace

import numpy as np
import pytest
from space_server import QUERY

from dmae.cli import main
from dmae.modeling import InputError, VideoFrames
from dmae.space.cards import cards
from dmae.space.library import Found, Where
from dmae.space.settings import Settings
from dmae.space.texts import texts


@pytest.mark.parametrize(("confidence", "doubtful"), [(0.49, True), (0.5, False), (0.97, False), (None, False)])
def test_a_search_that_nothing_fits_says_so(space, confidence, doubtful):
    query = space.services.library.ask(QUERY)
    results = [
        replace(result, hit=replace(result.hit, confidence=confidence))
        for result in space.services.library.search(query, 3).results
    ]
    shown = cards([(query, Found(results))], texts("en"))
    assert ("Nothing here matches well" in shown) == doubtful
    worth = "score" if confidence is None else f"{100 * confidence:.0f} % sure"
    assert f"<span>{worth}" in shown


def test_where_all_were_left_out_it_says_so_and_not_that_a_filter_is_to_blame(space):
    query = space.services.library.ask(QUERY)
    for only_sure, told in ((True, "Nothing here matches well"), (False, "No video passes the filter")):
        assert told in cards([(query, Found([]))], texts("en"), only_sure=only_sure)


def test_an_image_is_searched_by_whatever_certainty_is_asked_of_texts(space):
    frames = VideoFrames(np.zeros((1, 48, 64, 3), np.uint8), np.zeros(1), 0.0, 1.0)
    library = space.services.library
    example = library.ask_example(frames, "black.png")
    assert len(library.search(example, 3, where=Where(min_confidence=1.0)).results) == 3
    assert library.search(library.ask(QUERY), 3, where=Where(min_confidence=1.0)).results == []


def test_who_serves_the_page_says_how_sure_its_results_are():
    assert Settings.from_environment({}).min_confidence == 0
    assert Settings.from_environment({"DMAE_MIN_CONFIDENCE": "0.25"}).min_confidence == 0.25
    for value, told in (("high", "must be a number"), ("25", "must be from 0 to 1"), ("nan", "must be from 0 to 1")):
        with pytest.raises(InputError, match=f"DMAE_MIN_CONFIDENCE {told}"):
            Settings.from_environment({"DMAE_MIN_CONFIDENCE": value})


@pytest.mark.parametrize("value", ["3", "nan"])
def test_the_option_is_told_by_its_own_name(value, capsys):
    assert main(["serve", "--model", "m", "--index", "i", "--min-confidence", value]) == 2
    assert "--min-confidence must be" in capsys.readouterr().err


@pytest.mark.browser
def test_a_visitor_asks_for_sure_results_alone(visit, space):
    hits = space.index.search(QUERY, k=12)
    least = int(100 * sorted(hit.confidence for hit in hits)[6])
    sure = [hit.id for hit in hits if hit.confidence >= least / 100]
    assert 0 < len(sure) < len(hits)
    visitor = visit()
    visitor.open()
    visitor.search(QUERY)
    visitor.page.click("#more button:has-text('sure')")
    visitor.limit("#sure", str(least), cards=len(sure))
    assert visitor.cards() == sure
    visitor.limit("#sure", "100", cards=0)
    visitor.page.wait_for_selector("#results .message:has-text('Nothing here matches well')")


@pytest.mark.browser
def test_results_say_how_sure_they_are(visit, space):
    visitor = visit()
    visitor.open()
    visitor.search(QUERY)
    sure = [hit.confidence for hit in space.index.search(QUERY, k=12)]
    shown = visitor.page.locator("#results .score").all_inner_texts()
    assert shown == [f"{100 * confidence:.0f} % sure" for confidence in sure]
    assert visitor.page.locator("#results .doubt").is_visible() == (max(sure) < 0.5)
