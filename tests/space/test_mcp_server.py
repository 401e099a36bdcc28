"""Agents, through the official MCP client over HTTP."""

import asyncio
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx
import pytest
from places import ROOT
from space_server import QUERY, start_space

from dmae.space.mcp_server import is_loopback

pytest.importorskip("mcp")
TOKEN = "a token of the tests"


@asynccontextmanager
async def session_at(url: str, token: str = ""):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx.AsyncClient(headers=headers, timeout=60) as client,
        streamable_http_client(f"{url}gradio_api/mcp/", http_client=client) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


def converse(url: str, *calls: tuple[str, dict], token: str = "") -> list:
    """What a client gets: the tools, then the answer of each call."""

    async def talk():
        async with session_at(url, token) as session:
            listed = (await session.list_tools()).tools
            return [listed, *[await session.call_tool(name, arguments) for name, arguments in calls]]

    with ThreadPoolExecutor(1) as pool:  # the browser's driver has a loop of its own in this thread
        return pool.submit(asyncio.run, talk()).result()


def test_tools_are_listed_with_what_a_model_needs_to_know(space):
    (tools,) = converse(space.url)
    by_name = {tool.name: tool for tool in tools}
    assert set(by_name) == {"search", "explain", "cut"}
    for tool in tools:
        assert len(tool.description) > 80 and "Returns:" in tool.description
        for name, argument in tool.inputSchema["properties"].items():
            assert argument["type"] in ("string", "integer", "number", "boolean"), (tool.name, name)
            assert len(argument["description"]) > 10, (tool.name, name)
    assert by_name["search"].inputSchema["required"] == ["query"]
    assert set(by_name["explain"].inputSchema["required"]) == {"query", "video_id"}


def test_a_search_and_its_explanation_are_those_of_the_index(space):
    least = sorted(hit.confidence for hit in space.index.search(QUERY, k=3))[1] - 1e-6
    _, found, sure = converse(
        space.url,
        ("search", {"query": QUERY, "k": 3}),
        ("search", {"query": QUERY, "k": 3, "min_confidence": least, "distinct": False}),
    )
    assert [hit["id"] for hit in json.loads(sure.content[0].text)] == space.ids(QUERY, 3, min_confidence=least)
    hits = json.loads(found.content[0].text)
    assert not found.isError and [hit["id"] for hit in hits] == space.ids(QUERY, 3)
    assert httpx.get(hits[0]["video"]).status_code == 200 and str(space.folder) not in found.content[0].text
    arguments = {"query": QUERY, "video_id": hits[0]["id"], "scope": hits[0]["scope"]}
    _, why = converse(space.url, ("explain", arguments))
    told = json.loads(why.content[0].text)
    assert told["words"] == QUERY.split() and len(told["similarity"]) == len(told["words"])
    assert told["score"] == pytest.approx(hits[0]["score"], abs=1e-5)


def test_a_span_is_cut_into_a_file_that_plays(space, tmp_path):
    from dmae.modeling import read_frames

    span = {"video_id": "clip_00_long.mp4", "start": 0.5, "end": 1.5}
    _, cut, backwards, absent, endless = converse(
        space.url,
        ("cut", span),
        ("cut", span | {"end": 0.25}),
        ("cut", span | {"video_id": "../model/config.json"}),
        ("cut", span | {"end": 1e9}),
    )
    answer = httpx.get(json.loads(cut.content[0].text)["clip"])
    assert answer.status_code == 200 and answer.headers["content-type"] == "video/mp4"
    (tmp_path / "clip.mp4").write_bytes(answer.content)
    assert read_frames(tmp_path / "clip.mp4", 3).duration == pytest.approx(1.0, abs=0.11)
    assert all(wrong.isError and "Traceback" not in wrong.content[0].text for wrong in (backwards, absent, endless))
    assert "60 seconds at most" in endless.content[0].text and "no longer here" in absent.content[0].text


def test_what_is_wrong_is_an_error_in_one_sentence_and_a_path_is_only_a_text(space):
    path = str(space.folder / "videos" / "clip_00_long.mp4")
    _, empty, none, many, unknown, mistyped, upload, as_text = converse(
        space.url,
        ("search", {"query": "  "}),
        ("search", {}),
        ("search", {"query": "a", "k": 10**9}),
        ("explain", {"query": "a", "video_id": "../model/config.json"}),
        ("search", {"query": {"path": "/etc/passwd"}}),
        ("add", {"file": "http://127.0.0.1:9/x.mp4"}),
        ("search", {"query": path, "k": 2}),
    )
    for answer in (empty, none, many, unknown, mistyped, upload):
        text = answer.content[0].text
        assert answer.isError and "Traceback" not in text and "site-packages" not in text, text
        assert len(text) < 300
    assert "Write what the video should show" in empty.content[0].text
    hits = json.loads(as_text.content[0].text)
    assert len(hits) == 2 and all(hit["score"] < 0.99 for hit in hits)


def test_other_machines_and_pages_of_elsewhere_are_refused(space):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"Accept": "application/json, text/event-stream"}
    url = f"{space.url}gradio_api/mcp/"
    assert httpx.post(url, json=body, headers=headers).status_code == 200
    for stranger in ({"Host": "evil.example:7860"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert httpx.post(url, json=body, headers=headers | stranger).status_code == 403, stranger
    for bad in (b"", b"{", b"[" * 100_000, b'{"jsonrpc": "2.0"}'):
        answer = httpx.post(url, content=bad, headers=headers | {"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500 and "Traceback" not in answer.text


@pytest.fixture(scope="module")
def guarded(space_files):
    space, page = start_space(space_files, mcp=True, token=TOKEN)
    yield space
    page.close()
    space.services.close()


def test_with_a_token_nobody_comes_in_without_it(guarded):
    url = f"{guarded.url}gradio_api/mcp/"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}):
        for path in ("", "sse", "schema", "messages/"):
            answer = httpx.post(url + path, json={}, headers=headers)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    tools, found = converse(guarded.url, ("search", {"query": QUERY, "k": 1}), token=TOKEN)
    assert len(tools) == 3 and json.loads(found.content[0].text)[0]["id"] == guarded.ids(QUERY, 1)[0]


def test_a_token_is_drawn_where_other_machines_can_call():
    from dmae.space.serve import _with_token
    from dmae.space.settings import Settings

    assert _with_token(Settings(mcp=True), "127.0.0.1").token == ""
    drawn = [_with_token(Settings(mcp=True), host).token for host in ("0.0.0.0", "::", "example.org")]
    assert all(len(token) >= 32 for token in drawn) and len(set(drawn)) == 3
    assert _with_token(Settings(mcp=True, token="mine"), "0.0.0.0").token == "mine"
    assert _with_token(Settings(), "0.0.0.0").token == ""
    assert [is_loopback(host) for host in ("localhost", "[::1]", "127.1.2.3", "10.0.0.1", "")] == [True] * 3 + [
        False
    ] * 2


def test_every_example_of_the_api_tab_runs(space, tmp_path):
    usage = (ROOT / "space" / "usage.md").read_text().replace("ADDRESS OF THIS PAGE", space.url)
    examples = re.findall(r"```(python|sh)\n(.*?)```", usage, re.S)
    assert [language for language, _ in examples] == ["python", "sh", "python"]
    (tmp_path / "clip.mp4").write_bytes((space.folder / "videos" / "clip_01_short.mp4").read_bytes())
    for language, code in examples:
        command = [sys.executable, "-c"] if language == "python" else ["sh", "-c"]
        ended = subprocess.run([*command, code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
        if "print" in code or language == "sh":
            assert space.ids("a dog on a skateboard", 1)[0] in ended.stdout, ended.stdout
