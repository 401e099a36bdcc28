"""Results say how sure they are, and when nothing fits."""

from dataclasses import replace

import pytest
from space_server import QUERY

from dmae.space.cards import cards
from dmae.space.library import Found
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


@pytest.mark.browser
def test_results_say_how_sure_they_are(visit, space):
    visitor = visit()
    visitor.open()
    visitor.search(QUERY)
    sure = [hit.confidence for hit in space.index.search(QUERY, k=12)]
    shown = visitor.page.locator("#results .score").all_inner_texts()
    assert shown == [f"{100 * confidence:.0f} % sure" for confidence in sure]
    assert visitor.page.locator("#results .doubt").is_visible() == (max(sure) < 0.5)
