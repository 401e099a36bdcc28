"""A Space that follows a folder: what comes there is searchable without a restart."""

import json
import shutil
import time

import httpx
import pytest
from space_server import QUERY, start_space

from dmae.space.serve import serve
from dmae.space.settings import Settings

START = 120.0  # seconds that the process beside it may take to import and load
SOON = 10.0  # seconds within which a whole file is found


def search(client) -> list[str]:
    event = client.post("gradio_api/call/search", json={"data": [QUERY, 10, 0, 0]}).json()["event_id"]
    answer = client.get(f"gradio_api/call/search/{event}").text
    assert "event: complete" in answer, answer
    return [hit["id"] for hit in json.loads(answer.split("data: ", 1)[1])[0]]


def wait_for(client, ids: list[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (found := sorted(search(client))) != ids:
        assert time.monotonic() < deadline, found
        time.sleep(0.3)


def test_what_comes_is_found_without_a_restart(space_files, tmp_path):
    shutil.copytree(space_files / "model", tmp_path / "model")
    clips = tmp_path / "clips"
    clips.mkdir()
    some, other = sorted((space_files / "videos").glob("*.mp4"))[:2]
    shutil.copy(some, clips / "a.mp4")
    space, page = start_space(tmp_path, watch=str(clips))
    follower = space.services.follower
    try:
        with httpx.Client(base_url=space.url, timeout=60) as client:
            assert "0 videos" in client.get("").text
            wait_for(client, ["a.mp4"], START)
            shutil.copy(other, clips / "b.mp4")
            wait_for(client, ["a.mp4", "b.mp4"], SOON)
            (clips / "a.mp4").unlink()
            wait_for(client, ["b.mp4"], SOON)
    finally:
        page.close()
        space.services.close()
    assert follower._process.returncode == 0  # it ended as asked to, by itself


@pytest.mark.parametrize("given", [{"watch": "/nowhere", "model": "MODEL", "index": "INDEX"}, {"watch": "/tmp"}])
def test_what_cannot_be_followed_is_told_at_once(space_files, given):
    names = {"MODEL": str(space_files / "model"), "INDEX": str(space_files / "index")}
    settings = Settings(**{key: names.get(value, value) for key, value in given.items()})
    with pytest.raises(ValueError, match=r"/nowhere|--model"):
        serve(settings, "127.0.0.1", block=False)
