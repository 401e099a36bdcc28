"""The search tab in a real browser."""

import pytest
from space_server import FIRST, HOSTILE, QUERY

pytestmark = pytest.mark.browser
OTHER = "a big green circle goes up"


def test_the_first_page_opens_with_a_search_whose_best_moment_shows(visit, space):
    visitor = visit()
    visitor.open()
    assert "Find the moment" in visitor.page.title()
    assert "14 videos" in visitor.page.inner_text("#heading")
    assert visitor.page.get_by_label("What should the video show?").count() == 1  # what a screen reader says
    assert visitor.page.input_value("#query textarea, #query input") == FIRST
    assert visitor.cards() == space.ids(FIRST, 12)
    visitor.wait_for_player(space.index.search(FIRST, k=1)[0].best_time)
    assert "?q=" not in visitor.page.url  # nobody has searched yet
    visitor.keep("start")


def test_results_come_in_the_order_of_the_index(visit, space):
    visitor = visit()
    visitor.open()
    visitor.search(QUERY)
    assert visitor.cards() == space.ids(QUERY, 12)
    visitor.page.click("#show-more")
    visitor.page.wait_for_function("document.querySelectorAll('#results .card').length == 14")
    assert visitor.cards() == space.ids(QUERY, 14)
    assert visitor.page.locator("#show-more").is_hidden()
    visitor.keep("desktop")


def test_the_best_video_stands_at_its_best_moment_and_a_frame_seeks(visit, space):
    visitor = visit()
    visitor.open()
    visitor.search(QUERY)
    best = space.index.search(QUERY, k=1)[0]
    visitor.wait_for_player(best.best_time)
    frames = visitor.page.locator("#detail .frame")
    assert frames.count() == len(best.frame_times) == 6
    frames.nth(4).click()
    visitor.wait_for_player(best.frame_times[4])
    marked = visitor.page.locator("#detail thead th.best")
    assert marked.count() == 1
    assert float(marked.locator(".frame").get_attribute("data-seek")) == pytest.approx(best.best_time, abs=0.001)
    visitor.page.locator("#results .card").first.click()  # it plays already: back to its best moment
    visitor.wait_for_player(best.best_time)


def test_a_video_plays_by_itself_from_its_best_moment(visit, space):
    visitor = visit(reduced_motion="no-preference")
    visitor.open()
    visitor.search(QUERY)
    best = space.index.search(QUERY, k=1)[0].best_time
    visitor.page.wait_for_function(f"document.querySelector('#detail video').currentTime > {best} + 0.2")
    assert visitor.page.evaluate("document.querySelector('#detail video').muted")


def test_the_heat_map_is_words_by_frames(visit, space):
    visitor = visit()
    visitor.open()
    visitor.search(QUERY)
    rows = visitor.page.locator("#detail tbody tr")
    names = [row.locator("th").inner_text() for row in rows.all()]
    assert names == ["whole query", *QUERY.split()]
    assert all(row.locator("td").count() == 6 and row.locator("td.best").count() == 1 for row in rows.all())
    heaviest = visitor.page.locator("#detail tr.content th").all_inner_texts()
    assert "star" in heaviest and "the" not in heaviest


def test_another_result_is_chosen_by_keyboard(visit, space):
    visitor = visit()
    visitor.open()
    visitor.search(QUERY)
    third = visitor.page.locator("#results .card").nth(2)
    third.focus()
    visitor.page.keyboard.press("Enter")
    hit = space.index.search(QUERY, k=3)[2]
    visitor.page.wait_for_function(
        f"document.querySelector('#detail video').dataset.start == '{hit.best_time:.3f}' && "
        "document.querySelectorAll('#results .card')[2].getAttribute('aria-pressed') == 'true'"
    )
    visitor.wait_for_player(hit.best_time)
    assert visitor.page.locator("#results .card[aria-pressed=true]").count() == 1


def test_the_address_of_a_search_restores_it(visit, space):
    visitor = visit()
    visitor.open()
    visitor.search(OTHER)
    visitor.page.wait_for_url("**?q=*")
    shared = visitor.page.url.removeprefix(visitor.url)
    friend = visit()
    friend.open(shared)
    friend.page.wait_for_selector("#results .card")
    assert friend.page.input_value("#query textarea, #query input") == OTHER
    assert friend.cards() == space.ids(OTHER, 12)


def test_an_example_searches(visit, space):
    visitor = visit()
    visitor.open()
    visitor.page.click(f".chips button:has-text('{QUERY}')")
    visitor.wait_for_cards(space.ids(QUERY, 12))
    assert visitor.page.input_value("#query textarea, #query input") == QUERY


def test_several_searches_stand_side_by_side_and_can_be_shared(visit, space):
    visitor = visit()
    visitor.open()
    visitor.search(f"{QUERY} | {OTHER}")
    visitor.page.wait_for_url("**?q=*")
    friend = visit()
    friend.open(visitor.page.url.removeprefix(visitor.url))
    for page in (visitor.page, friend.page):
        sides = page.locator("#results .sides section")
        assert [side.locator("h2").inner_text() for side in sides.all()] == [QUERY, OTHER]
        for side, query in zip(sides.all(), (QUERY, OTHER)):
            shown = [card.get_attribute("data-id") for card in side.locator(".card").all()]
            assert shown == space.ids(query, 6)
    friend.page.locator(".sides section").nth(1).locator(".card").nth(2).click()
    hit = space.index.search(OTHER, k=3)[2]
    friend.page.wait_for_function(f"document.querySelector('#detail video').dataset.start == '{hit.best_time:.3f}'")
    words = friend.page.locator("#detail tbody th").all_inner_texts()
    assert words[1:] == OTHER.split()  # compared with the query of its own list
    friend.page.click("#show-more")
    friend.page.wait_for_function("document.querySelectorAll('#results .card').length == 24")
    friend.search("a | b | c | d | e")
    assert "at most 4 fit side by side" in friend.page.inner_text("#results")


def test_filter_by_length(visit, space):
    visitor = visit()
    visitor.open()
    visitor.search(QUERY)
    visitor.page.click("#more button:has-text('length')")
    visitor.limit("#longest", "3", cards=7)
    assert visitor.cards() == space.ids(QUERY, 12, where="duration <= 3")
    assert all("short" in card for card in visitor.cards())
    visitor.limit("#longest", "1", cards=0)
    visitor.page.wait_for_selector("#results .message:has-text('Nothing found')")


def test_near_copies_are_hidden(visit, space):
    everything, apart = space.ids(QUERY, 12), space.ids(QUERY, 12, distinct=0.95)
    assert apart != everything
    visitor = visit()
    visitor.open()
    visitor.search(QUERY)
    visitor.wait_for_cards(everything)
    visitor.page.click("#more button:has-text('copies')")
    visitor.tick("#distinct", True, apart)
    visitor.tick("#distinct", False, everything)


def test_search_by_an_image(visit, space):
    picture = space.folder / "frame.jpg"
    frames = space.services.decoder.picture(str(space.folder / "videos" / "clip_03_short.mp4"), 1.0)
    picture.write_bytes(frames)
    visitor = visit()
    visitor.open()
    visitor.page.click("#more button:has-text('length')")
    visitor.page.set_input_files("#example input[type=file]", picture)
    visitor.wait_for_cards(space.ids(picture, 12))
    assert visitor.cards()[0] == "clip_03_short.mp4"


def test_search_by_a_video_and_by_files_that_are_none(visit, space, tmp_path):
    visitor = visit()
    visitor.open()
    visitor.page.click("#more button:has-text('length')")
    assert visitor.page.input_value("#longest input") == ""  # not 0, which would say that nothing passes
    for name, told in (("broken.jpg", "cannot be read as an image"), ("broken.mp4", "cannot be read as a video")):
        (tmp_path / name).write_bytes(b"\xff\xd8 nothing of a picture" * 50)
        visitor.page.set_input_files("#example input[type=file]", tmp_path / name)
        visitor.page.wait_for_selector(f"#results .message.error:has-text('{name}')")
        assert told in visitor.page.inner_text("#results") and str(tmp_path) not in visitor.page.content()
        visitor.page.click("#example button[aria-label*='lear']")
    clip = space.folder / "videos" / "clip_05_short.mp4"
    visitor.page.set_input_files("#example input[type=file]", clip)
    visitor.wait_for_cards(space.ids(clip, 12))
    assert visitor.cards()[0] == clip.name
    assert clip.exists()


def test_nothing_a_visitor_or_an_index_says_becomes_markup(visit):
    visitor = visit()
    visitor.open()
    visitor.search(HOSTILE)
    visitor.page.click("#show-more")
    visitor.page.wait_for_function("document.querySelectorAll('#results .card').length == 14")
    titles = visitor.page.locator("#results .card .title").all_inner_texts()
    assert HOSTILE in titles
    visitor.page.click("#results .card[data-id='hostile_short.mp4']")
    visitor.page.wait_for_function("document.querySelector('#detail h2').innerText.includes('onerror')")
    assert visitor.page.inner_text("#detail h2") == HOSTILE
    assert "{{7*7}}${7*7}" in visitor.page.inner_text("#detail tbody")
    assert visitor.page.evaluate("window.hacked") is None


def test_an_empty_query_and_one_too_long_are_answered_in_words(visit, space):
    visitor = visit()
    visitor.open()
    visitor.search("   ")
    assert "Write what the video should show" in visitor.page.inner_text("#results")
    assert "Traceback" not in visitor.page.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(visit, scheme):
    visitor = visit(color_scheme=scheme)
    visitor.open()
    assert visitor.pale_texts() == []
    visitor.search(QUERY)
    visitor.wait_for_player()
    assert visitor.pale_texts() == []
    for tab in ("Add videos", "How it works", "API"):
        visitor.page.click(f"button[role=tab]:has-text('{tab}')")
        assert visitor.pale_texts() == [], tab


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_width_has_no_sideways_scrolling(visit, scheme):
    visitor = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True)
    visitor.open()
    visitor.search(QUERY)
    visitor.wait_for_player()
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visitor.page.get_by_role("tab", name="API").is_visible()  # every tab has its place
    player, cards = (visitor.page.locator(place).bounding_box() for place in ("#detail .screen", "#results .cards"))
    assert player["y"] < cards["y"]
    dark = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((c) => c < 60)")
    assert dark == (scheme == "dark")
    visitor.keep(f"phone-{scheme}")


def test_pictures_have_their_place_before_they_come(visit):
    visitor = visit()
    visitor.expected.append("Failed to load resource")
    visitor.page.route("**/*.jpg", lambda route: route.abort())
    visitor.open()
    visitor.search(QUERY)
    heights = visitor.page.eval_on_selector_all(".thumb", "all => all.map((t) => t.getBoundingClientRect().height)")
    assert min(heights) > 60
