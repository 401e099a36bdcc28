"""The other tabs in a real browser."""

import time

import pytest
from space_server import FIRST, QUERY, moving_square
from video_files import write_video

pytestmark = pytest.mark.browser


@pytest.fixture
def files(tmp_path):
    good = write_video(tmp_path / "my own clip.mp4", moving_square(99, 2), rate=10)
    bad = tmp_path / "broken.mp4"
    bad.write_bytes(b"\0\0\0\x18ftypmp42" + b"nothing of a video" * 200)
    return good, bad


def test_added_videos_are_found_by_their_visitor_alone(visit, files):
    visitor, other = visit(), visit()
    visitor.open()
    visitor.page.click("button[role=tab]:has-text('Add videos')")
    visitor.page.set_input_files("#add-files input[type=file]", list(files))
    visitor.page.wait_for_selector("#added .ready")
    visitor.page.wait_for_selector("#added .failed")
    report = visitor.page.inner_text("#added")
    assert "my own clip.mp4: 00:02" in report
    assert report.count("cannot be read as a video") == 1 and "Traceback" not in report and "/tmp" not in report
    visitor.keep("added")
    visitor.page.click("button[role=tab]:has-text('Search')")
    visitor.search(QUERY)
    visitor.page.click("#show-more")
    visitor.page.wait_for_function("document.querySelectorAll('#results .card').length == 15")
    mine = visitor.page.locator("#results .card:has(.own)")
    assert mine.count() == 1 and mine.locator(".title").inner_text() == "my own clip"
    mine.click()
    visitor.page.wait_for_function("document.querySelector('#detail h2').innerText == 'my own clip'")
    visitor.wait_for_player()
    other.open()
    other.search(QUERY)
    other.page.click("#show-more")
    other.page.wait_for_function("document.querySelectorAll('#results .card').length == 14")
    assert other.page.locator(".own").count() == 0


def test_own_videos_are_searched_together_with_the_collection_or_apart(visit, files, space):
    visitor = visit()
    visitor.open()
    assert visitor.page.locator("#where").is_hidden()
    visitor.page.click("button[role=tab]:has-text('Add videos')")
    visitor.page.set_input_files("#add-files input[type=file]", [files[0]])
    visitor.page.wait_for_selector("#added .ready")
    visitor.page.click("button[role=tab]:has-text('Search')")
    visitor.page.uncheck("#in-index input")
    visitor.page.wait_for_function("document.querySelectorAll('#results .card').length == 1")
    assert visitor.page.locator("#results .own").count() == 1
    visitor.page.uncheck("#in-mine input")
    visitor.page.wait_for_selector("#results .message:has-text('Tick where to search')")
    visitor.page.check("#in-index input")
    visitor.wait_for_cards(space.ids(FIRST, 12))


@pytest.mark.parametrize("how", ["asking", "leaving"])
def test_a_visitors_videos_go_when_they_ask_for_it_or_leave(visit, files, space, how):
    visitor = visit()
    visitor.open()
    visitor.page.click("button[role=tab]:has-text('Add videos')")
    before = set(space.services.shelves.root.iterdir())
    visitor.page.set_input_files("#add-files input[type=file]", [files[0]])
    visitor.page.wait_for_selector("#added .ready")
    (mine,) = set(space.services.shelves.root.iterdir()) - before
    if how == "asking":
        visitor.page.click("#forget")
        visitor.page.wait_for_selector("#added .message")
    else:
        visitor.page.close()
    deadline = time.monotonic() + 20
    while mine.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not mine.exists()


def test_the_comparison_ranks_by_each_attention(visit):
    visitor = visit()
    visitor.open()
    visitor.page.click("button[role=tab]:has-text('How it works')")
    visitor.page.wait_for_selector("#comparison section")  # of the example, without being asked
    visitor.page.fill("#compare-query textarea, #compare-query input", QUERY)
    visitor.page.click("#compare")
    visitor.page.wait_for_selector("#comparison section")
    assert visitor.page.locator("#comparison section").count() == 4
    assert visitor.page.locator("#comparison li").count() == 20
    visitor.keep("how-it-works")


def test_the_api_is_documented(visit):
    visitor = visit()
    visitor.open()
    visitor.page.click("button[role=tab]:has-text('API')")
    visitor.page.wait_for_selector("#usage pre")
    assert "ADDRESS" not in visitor.page.inner_text("#usage")
    for endpoint in ("/search", "/explain", "/add"):
        visitor.page.get_by_text(endpoint, exact=True).first.wait_for(state="visible")
    assert f'Client("{visitor.url}")' in visitor.page.inner_text("#usage pre")
