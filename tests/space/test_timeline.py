"""The timeline of a long video: score, spans, further moments, and the span as a file."""

import pytest
from page_checks import findings, step_to
from space_server import QUERY, moving_square, start_space
from video_files import write_video

from dmae.modeling import load_pretrained, read_frames
from dmae.retrieval import VideoIndex

pytestmark = pytest.mark.browser
SCENES = [0, 1, 2, 3, 1, 0, 2, 3]  # each comes twice, so that there are further moments
SECONDS = 6


@pytest.fixture(scope="module")
def cinema(space_files, tmp_path_factory):
    """A Space with one film."""
    folder = tmp_path_factory.mktemp("cinema")
    (folder / "model").symlink_to(space_files / "model")
    (folder / "videos").mkdir()
    pictures = [picture for scene in SCENES for picture in moving_square(scene, SECONDS)]
    write_video(folder / "videos" / "film.mp4", pictures, rate=10, options={"g": "20"})
    index = VideoIndex.create(folder / "index", *load_pretrained(folder / "model"))
    assert index.add(folder / "videos", workers=0).added == 1
    space, page = start_space(folder)
    yield space
    page.close()
    space.services.close()


@pytest.fixture(scope="module")
def hit(cinema):
    hit = cinema.index.search(QUERY, k=1)[0]
    assert hit.moments and 0 < hit.end - hit.start < hit.duration / 2
    return hit


@pytest.fixture
def visitor(visit_space, cinema):
    visitor = visit_space(cinema)
    visitor.open(f"?q={QUERY}")
    return visitor


def test_the_player_tells_what_the_card_told(visitor, hit):
    visitor.wait_for_player(hit.best_time)
    assert f"{100 * hit.confidence:.0f} % sure" in visitor.page.inner_text("#detail .caption")
    assert f"{100 * hit.confidence:.0f} % sure" in visitor.page.inner_text("#results .card .score")


def test_the_spans_stand_where_they_are_and_lead_there(visitor, hit):
    page = visitor.page
    visitor.wait_for_player(hit.best_time)
    lefts = page.eval_on_selector_all(".timeline rect.moment", "all => all.map((r) => +r.getAttribute('x'))")
    assert lefts == pytest.approx([1000 * moment.start / hit.duration for moment in hit.moments], abs=0.1)
    buttons = page.locator("#detail ol.spans button")
    assert buttons.count() == len(hit.moments)
    for button, moment in ((buttons.first, hit.moments[0]), (page.locator("#detail .seek.best"), hit)):
        button.click()
        visitor.wait_for_player(moment.start)


def test_a_click_on_the_timeline_and_its_keys_seek(visitor, hit):
    visitor.wait_for_player(hit.best_time)
    box = visitor.page.locator(".timeline .seekbar").bounding_box()
    visitor.page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    visitor.wait_for_player(0.75 * hit.duration)
    visitor.page.focus("body")
    step_to(visitor.page, ".seekbar")
    visitor.page.keyboard.press("Home")
    visitor.wait_for_player(0.0)
    visitor.page.keyboard.press("ArrowRight")
    visitor.wait_for_player(1.0)
    assert findings(visitor.page) == [] and visitor.pale_texts() == []
    visitor.keep("timeline")


def test_the_timeline_fits_a_phone(visit_space, cinema, hit):
    visitor = visit_space(cinema, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    visitor.open(f"?q={QUERY}")
    visitor.wait_for_player(hit.best_time)
    bar = visitor.page.locator(".timeline .seekbar")
    bar.tap(position={"x": 0.75 * bar.bounding_box()["width"], "y": 20})
    visitor.wait_for_player(0.75 * hit.duration)
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
    visitor.keep("timeline-phone")


def test_the_span_comes_as_a_file(visitor, hit, tmp_path):
    visitor.wait_for_player(hit.best_time)
    with visitor.page.expect_download() as started:
        visitor.page.click("#detail .download")
    name = started.value.suggested_filename
    assert name.startswith("film-00m") and name.endswith(".mp4")
    started.value.save_as(tmp_path / "span.mp4")
    assert read_frames(tmp_path / "span.mp4", 3).duration == pytest.approx(hit.end - hit.start, abs=0.15)
