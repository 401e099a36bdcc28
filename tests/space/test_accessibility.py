"""The page with keys alone, and by the rules that axe checks for those who use screen readers."""

import pytest
from page_checks import findings, step_to
from space_server import QUERY

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_anywhere(visit, scheme):
    visitor = visit(color_scheme=scheme)
    visitor.open()
    visitor.wait_for_player()
    page = visitor.page
    assert findings(page) == []
    page.click("#more button")
    visitor.search(f"{QUERY} | a green circle")
    page.wait_for_selector("#shortest input", state="visible")
    assert findings(page) == []
    visitor.search(" ")
    assert findings(page) == []
    for number in (1, 2, 3):
        page.click(f"button[role=tab] >> nth={number}")
        page.wait_for_timeout(300)  # colours fade in
        if number == 2:
            page.wait_for_selector("#comparison section")
        assert findings(page) == [], number


def test_everything_can_be_done_with_keys_alone(visit, space):
    visitor = visit()
    visitor.open()
    page = visitor.page
    page.focus("body")
    step_to(page, "#query textarea, #query input")
    page.keyboard.press("Control+A")
    page.keyboard.type("a big green circle")
    page.evaluate("document.querySelectorAll('#results .card').forEach((card) => card.dataset.old = 1)")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results .card:not([data-old])")
    step_to(page, "#results .card:not([aria-pressed=true])")
    chosen = page.evaluate("document.activeElement.dataset.id")
    page.evaluate("document.querySelector('#detail .player').dataset.old = 1")
    page.keyboard.press("Space")
    page.wait_for_function(
        "(id) => document.querySelector('#results .card[aria-pressed=true]').dataset.id == id", arg=chosen
    )
    page.wait_for_selector("#detail .player:not([data-old])")  # the card is marked before its video is there
    step_to(page, "#show-more")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('#results .card').length == 14")
    step_to(page, "#detail .frame")
    page.keyboard.press("Enter")
    time = float(page.evaluate("document.activeElement.dataset.seek"))
    visitor.wait_for_player(time)
    page.evaluate("scrollTo(0, 0)")
    page.focus("button[role=tab]")
    step_to(page, "button[role=tab]:not([aria-selected=true])")
    page.keyboard.press("Enter")
    page.wait_for_selector("#added .message")


def test_what_was_found_is_said_to_a_screen_reader(visit, space):
    visitor = visit()
    visitor.open()
    said = visitor.page.locator("#results ~ .unseen[role=status], #results .unseen[role=status]").first
    assert said.inner_text() == "12 results"
    visitor.page.click("#show-more")
    visitor.page.wait_for_function("document.querySelector('.unseen[role=status]').innerText == '14 results'")
