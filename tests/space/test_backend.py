"""A page without a model and an index: a search service has them."""

import os

import httpx
import pytest
from gradio_client import Client
from search_service import CONFIDENCE_BOUND, assert_alike, ids, search_service
from space_server import FIRST, QUERY, start_space
from stand_in import stand_in
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient

from dmae import cli
from dmae.modeling import load_pretrained
from dmae.retrieval import VideoIndex
from dmae.space.distant_videos import DistantVideos
from dmae.space.library import OpenLibrary, Where, encode_id
from dmae.space.method_tab import compare
from dmae.space.remote_library import RemoteLibrary
from dmae.space.settings import Settings
from dmae.space.texts import UserError

if not os.environ.get("CI"):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def own(space_files):
    """Model and index of this process."""
    model, processor = load_pretrained(space_files / "model")
    return OpenLibrary(model, processor, VideoIndex.open(space_files / "index", model, processor))


@pytest.fixture(scope="module")
def running(own, tmp_path_factory):
    with search_service(own.index, tmp_path_factory.mktemp("parts")) as service:
        yield service


@pytest.fixture
def service(running):
    """The service, whose parts all answer when the test ends."""
    yield running
    running.silent.clear()


@pytest.fixture(scope="module")
def page(space_files, running):
    space, page = start_space(space_files, backend=running.url, uploads=None)
    yield space
    page.close()
    space.services.close()


def test_it_finds_and_explains_what_an_index_of_its_own_does(own, service):
    assert_alike(RemoteLibrary(service.url), own, QUERY)


def test_what_is_not_there_is_told(service):
    remote = RemoteLibrary(service.url)
    query = remote.ask(QUERY)
    for scope, video in (("index", "nope"), ("0123", "clip_01_short.mp4")):
        with pytest.raises(UserError) as told:
            remote.watch(query, scope, video)
        assert told.value.key == "video_gone"
    assert remote.row("index", "nope", ["path"]) is None
    with pytest.raises(UserError, match="Write what"):
        remote.ask("  ")
    with pytest.raises(UserError, match="near-copies"):
        remote.search(query, 5, where=Where(distinct=True))
    with pytest.raises(UserError, match="from 0 to 1"):
        remote.search(query, 5, where=Where(min_confidence=2))


def test_a_part_that_is_silent_is_counted(own, service):
    remote = RemoteLibrary(service.url)
    service.silent.add(service.parts[0])
    held = set(VideoIndex.open(service.parts[1]).table.scan(["id"])["id"].to_pylist())
    found = remote.search(remote.ask(QUERY), 14)
    assert (found.silent, found.parts) == (1, 2) and set(ids(found)) == held
    assert compare(remote, remote.ask(QUERY))["both"].silent == 1
    assert len(remote) == 14  # what it was, not what is left
    service.silent.update(service.parts)
    for call in (lambda query: remote.search(query, 5), lambda query: remote.watch(query, "index", "x")):
        with pytest.raises(UserError) as told:
            call(remote.ask(QUERY))
        assert told.value.key == "backend_silent"


@pytest.mark.parametrize(
    "routes",
    [
        {},
        {"/stats": b"<html>"},
        {"/stats": {"videos": "many"}},
    ],
)
def test_what_is_no_service_is_refused_at_the_start(routes, capsys):
    with stand_in(routes) as (url, _):
        assert cli.main(["serve", "--backend", url]) == 2
    assert f"the server at {url}/" in capsys.readouterr().err


@pytest.mark.parametrize(
    "hits", [{}, [{"id": "a"}], [{"id": "a", "score": 1.0, "frame_scores": []}], [{"id": 5, "score": 1.0}]]
)
def test_answers_in_another_form_are_no_answers(hits):
    with stand_in({"/stats": {"videos": 1}, "/search": {"hits": hits, "partial": []}}) as (url, _):
        remote = RemoteLibrary(url)
        if hits:
            with pytest.raises(UserError, match="does not answer"):
                remote.search(remote.ask("red"), 5)
        else:
            assert remote.search(remote.ask("red"), 5).results == []


def test_what_does_not_go_together_is_refused(capsys, monkeypatch):
    for name in ("DMAE_MODEL", "DMAE_INDEX"):
        monkeypatch.delenv(name, raising=False)
    for arguments, told in (
        (["--model", "m"], "leave out --model or DMAE_MODEL"),
        (["--watch", "clips"], "leave out --watch or DMAE_WATCH"),
    ):
        assert cli.main(["serve", "--backend", "http://127.0.0.1:9", *arguments]) == 2
        assert told in capsys.readouterr().err
    assert cli.main(["serve", "--backend", "nowhere"]) == 2
    assert "give --backend an address such as" in capsys.readouterr().err
    assert not Settings(backend="http://x", uploads=True).uploads_allowed


def test_programs_get_results_pictures_and_videos(page, own, service):
    client = Client(page.url, verbose=False)
    found = client.predict(QUERY, 3, api_name="/search")
    expected = own.search(own.ask(QUERY), 3)
    assert [hit["id"] for hit in found] == ids(expected) and "partial" not in found[0]
    sure = [result.hit.confidence for result in expected.results]
    assert [hit["confidence"] for hit in found] == pytest.approx(sure, abs=CONFIDENCE_BOUND)
    least = max(sure) - 2 * CONFIDENCE_BOUND
    assert [hit["id"] for hit in client.predict(QUERY, 3, 0, 0, least, api_name="/search")] == [
        hit["id"] for hit in found if hit["confidence"] >= least
    ]
    assert client.predict(QUERY, 3, 0, 0, 1, api_name="/search") == []
    why = client.predict(QUERY, found[0]["id"], api_name="/explain")
    assert why == own.index.explain(QUERY, found[0]["id"]).to_dict()
    picture = httpx.get(page.url + found[0]["thumbnail"], timeout=60)
    video = httpx.get(page.url + found[0]["video"])
    assert picture.content.startswith(b"\xff\xd8")
    assert video.content == (page.folder / "videos" / found[0]["id"]).read_bytes()
    service.silent.add(service.parts[0])
    assert all(hit["partial"] for hit in client.predict(QUERY, 3, api_name="/search"))


@pytest.mark.browser
def test_the_page_searches_plays_and_says_what_is_missing(visit_space, page, own, service):
    visitor = visit_space(page)
    visitor.open()
    assert "14 videos" in visitor.page.inner_text("#heading")
    visitor.wait_for_cards(ids(own.search(own.ask(FIRST), 12)))
    visitor.search(QUERY)
    expected = own.search(own.ask(QUERY), 12)
    assert visitor.cards() == ids(expected)
    visitor.wait_for_player(expected.results[0].hit.best_time)
    assert visitor.page.locator("#detail tbody tr").count() == 1 + len(QUERY.split())
    visitor.page.click("#show-more")
    visitor.page.wait_for_function("document.querySelectorAll('#results .card').length == 14")
    assert visitor.page.locator("#results .partial").count() == 0
    visitor.page.click("text=By length, image or video")
    visitor.page.wait_for_selector("text=which reads texts")
    visitor.page.fill("#shortest input", "3")
    visitor.page.keyboard.press("Enter")
    visitor.wait_for_cards(ids(own.search(own.ask(QUERY), 12, where=Where((3, None)))))
    visitor.page.click("button[role=tab]:has-text('Add videos')")
    visitor.page.wait_for_selector("text=Videos cannot be added here")
    service.silent.add(service.parts[0])
    german = visit_space(page, locale="de-DE")
    german.open()
    assert "Nur 1 der 2 Teile der Sammlung" in german.page.inner_text("#results .partial")


@pytest.mark.browser
def test_a_video_out_of_reach_shows_its_pictures_and_says_so(visit_space, space_files, service, own, tmp_path):
    space, blocks = start_space(space_files, backend=service.url, videos=str(tmp_path))
    try:
        visitor = visit_space(space)
        visitor.expected.append(encode_id("hostile_short.mp4"))  # no thumbnail in the index, and its file out of reach
        visitor.open()
        assert "out of this page's reach" in visitor.page.inner_text("#detail .screen")
        assert visitor.page.locator("#detail video, #detail .download").count() == 0
        visitor.page.locator("#detail .frame").nth(4).click()
        visitor.page.wait_for_function(
            "document.querySelector('#detail .screen img').src == "
            "document.querySelectorAll('#detail .frame img')[4].src"
        )
        visitor.page.wait_for_function("document.querySelector('#detail .screen img').naturalWidth > 0")
    finally:
        blocks.close()
        space.services.close()


def test_videos_below_a_url_are_handed_on_in_ranges(space_files):
    files = {f"/clips/{path.name}": path.read_bytes() for path in (space_files / "videos").glob("*.mp4")}
    (name, whole), *_ = sorted(files.items())
    with stand_in(files) as (url, _):
        distant = DistantVideos(f"{url}/clips")
        hand_on = lambda request: distant.answer(distant.find(url + name), request, media_type="video/mp4")  # noqa: E731
        client = TestClient(Starlette(routes=[Route(name, hand_on)]))
        for asked, status, sent in (
            ("", 200, whole),
            ("bytes=10-19", 206, whole[10:20]),
            ("bytes=10-", 206, whole[10:]),
            ("bytes=-7", 206, whole[-7:]),
            (f"bytes={len(whole)}-", 416, b""),
            ("bytes=0-1,5-9", 200, whole),
            (f"bytes={'9' * 5000}-", 200, whole),  # no number that Python would read
        ):
            headers = {"Range": asked} if asked else {}
            answer = client.get(name, headers=headers)
            assert (answer.status_code, answer.content) == (status, sent), asked
            if status == 206:
                assert answer.headers["content-range"].endswith(f"/{len(whole)}")
        assert distant.answer(distant.find(f"{url}/clips/gone.mp4"), Request({"type": "http", "headers": []})) is None
        for other in (f"{url}/other/a.mp4", f"{url}/clips/../a.mp4", f"{url}/clips/notes.txt", "/etc/a.mp4", None):
            assert distant.find(other) is None
