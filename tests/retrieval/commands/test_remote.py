"""`dmae search --server`: what is asked of a server, what is made of its answers, and what is refused."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from stand_in import HIT, gradio_routes, stand_in

from dmae import cli
from dmae.retrieval.search.searcher import SearchHit
from dmae.space.progress_page import ProgressPage


def run(capsys, *argv):
    status = cli.main(["search", *map(str, argv)])
    return status, *capsys.readouterr()


def refusal(capsys, *argv) -> str:
    """The one line of a search that fails."""
    status, out, err = run(capsys, *argv)
    assert status == 2 and not out and err.count("\n") == 1 and err.startswith("dmae search: error: ")
    return err


def test_a_space_is_asked_and_its_hits_are_printed_as_those_of_an_index(capsys):
    with stand_in(gradio_routes("complete", [[HIT]])) as (url, asked):
        status, out, _ = run(capsys, "ein rötliches Quadrat", "--server", url, "-k", 3, "--json")
        assert status == 0
        assert "a.mp4" in run(capsys, "a red square", "--server", f"{url}/")[1]
    assert json.loads(asked[1][2]) == {"data": ["ein rötliches Quadrat", 3, 0, 0]}
    (hit,) = json.loads(out)
    fields = list(SearchHit("x", None, 0.0, None, [], []).to_dict())
    assert list(hit)[: len(fields)] == fields and hit["path"] is None and hit["score"] == HIT["score"]
    assert hit["video"] == f"{url}/{HIT['video']}" and hit["thumbnail"].startswith(url)


def test_the_service_on_ray_is_asked_with_the_options_that_it_knows(capsys):
    found = {"hits": [HIT], "partial": ["shard-1"]}
    with stand_in({"/app/search": found}) as (url, asked):
        options = ("--offset", 2, "--where", "duration > 1", "--min-score", 0.1, "--min-confidence", 0.25)
        status, out, err = run(capsys, "red & blue", "--server", f"{url}/app", *options, "--json")
    assert status == 1 and [hit["id"] for hit in json.loads(out)] == ["a.mp4"]
    assert err == "a part of the index did not answer: shard-1\n"
    asked_for = {"query": "red & blue", "k": "10", "offset": "2", "where": "duration > 1", "min_score": "0.1"}
    asked_for["min_confidence"] = "0.25"
    assert parse_qs(urlsplit(asked[-1][1]).query) == {name: [value] for name, value in asked_for.items()}


@pytest.mark.parametrize("routes", [gradio_routes("complete", [[]]), {"/search": {"hits": []}}], ids=["space", "ray"])
def test_where_nothing_is_sure_enough_it_says_so_as_a_search_of_an_index_does(capsys, routes):
    with stand_in(routes) as (url, asked):
        status, out, _ = run(capsys, "a dragon", "--server", url, "--min-confidence", 0.7)
        assert (status, out) == (0, "nothing here matches 'a dragon' well\n")
        assert run(capsys, "a dragon", "--server", url)[1] == "nothing found for 'a dragon'\n"
    wanted = [json.loads(body) for *_, body in asked if body] or [parse_qs(urlsplit(asked[1][1]).query)]
    assert wanted[0] in (
        {"data": ["a dragon", 10, 0, 0, 0.7]},
        {"query": ["a dragon"], "k": ["10"], "min_confidence": ["0.7"]},
    )


@pytest.mark.parametrize(
    "routes",
    [gradio_routes("complete", [[HIT | {"confidence": None}]]), {"/search": {"hits": [HIT | {"confidence": None}]}}],
    ids=["space", "ray"],
)
def test_a_server_that_tells_no_confidence_is_not_taken_to_have_left_out_the_doubtful(capsys, routes):
    with stand_in(routes) as (url, _):
        assert "does not tell how sure a result is" in refusal(capsys, "red", "--server", url, "--min-confidence", 0.5)
        assert run(capsys, "red", "--server", url, "--min-confidence", 0)[0] == 0


def test_a_confidence_that_is_none_is_told_before_anything_is_asked(capsys):
    for value in ("1.5", "-0.1"):
        told = refusal(capsys, "red", "--server", "http://127.0.0.1:9", f"--min-confidence={value}")
        assert told == f"dmae search: error: --min-confidence must be from 0 to 1, got {value}\n"
    assert "must be a number, got nan" in refusal(
        capsys, "red", "--server", "http://127.0.0.1:9", "--min-confidence", "nan"
    )


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--or", "a star"), "--or"),
        (("--offset", "1"), "--offset"),
        (("--cut", "clips"), "--cut"),
        (("--model", "m"), "--model"),
        (("--storage-option", "a=b"), "--storage-option"),
    ],
)
def test_an_option_that_a_space_does_not_know_is_refused_before_it_searches(capsys, options, name):
    with stand_in(gradio_routes("complete", [[HIT]])) as (url, asked):
        assert f"knows no {name}:" in refusal(capsys, "red", "--server", url, *options)
    assert [path for _, path, _ in asked] == ["/gradio_api/app_id"]


@pytest.mark.parametrize(
    ("routes", "told"),
    [
        (gradio_routes("error", {"error": "write\nsomething"}), "refuses: write something"),
        (gradio_routes("error", None), "failed to answer: look at its log"),
        (gradio_routes("generating", [[HIT]]), "it broke off"),
        (gradio_routes("complete", ["words"]), "does not answer as `dmae serve` does"),
        (gradio_routes("complete", [[{"id": "a", "score": "high"}]]), "does not answer as `dmae serve` does"),
        ({"/gradio_api/app_id": {"app_id": 1}}, "answers 404 Not Found: is it `dmae serve`?"),
        ({"/gradio_api/app_id": (500, b"")}, "answers 500 Internal Server Error: look at its log"),
        ({}, "answers 404 Not Found: is it `dmae serve`?"),
        ({"/search": b"<html>"}, "does not answer as `dmae serve` does"),
        ({"/search": (400, {"error": "the filter"})}, "refuses: the filter"),
        ({"/search": (422, {"detail": [{"loc": ["query", "k"], "msg": "too small"}]})}, "refuses: k: too small"),
        ({"/search": (503, {"hits": [], "partial": ["x"]})}, "answers 503 Service Unavailable: look at its log"),
    ],
)
def test_whatever_a_server_answers_costs_one_line(capsys, routes, told):
    with stand_in(routes) as (url, _):
        line = refusal(capsys, "red", "--server", url)
    assert told in line and f"the server at {url}/" in line


@pytest.mark.parametrize(
    "address", ["localhost:7860", "file:///etc/passwd", "http://", "http://a b", "http://x:y", ""]
)
def test_what_is_no_address_is_told(capsys, address):
    assert f"{address!r} is no address: give --server an address" in refusal(capsys, "red", "--server", address)


def test_a_server_that_is_not_there_or_still_loads_is_told(capsys, tmp_path):
    with stand_in({}) as (url, _):
        pass
    assert "gives no answer (Connection refused): is `dmae serve` running" in refusal(capsys, "red", "--server", url)
    with ProgressPage("127.0.0.1", int(url.rpartition(":")[2]), "why_loading", total=1):
        assert "is still loading" in refusal(capsys, "red", "--server", url)
    picture = tmp_path / "a.png"
    assert "a server reads texts" in refusal(capsys, picture, "--server", url)
    assert "give it" in refusal(capsys, "--server", url)
