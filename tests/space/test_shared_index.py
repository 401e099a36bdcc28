"""A Space on an index of the Hub plays the videos that were shared with it, and nothing beside them."""

import os

import httpx
import pytest
from hub_server import HubServer
from space_server import make_space_files

from dmae.modeling import load_pretrained
from dmae.retrieval import VideoIndex
from dmae.space.library import frame_url, video_url
from dmae.space.media import Media
from dmae.space.serve import serve
from dmae.space.settings import Settings


def test_videos_shared_with_an_index_play(tmp_path, monkeypatch):
    make_space_files(tmp_path, count=3)
    with HubServer() as hub:
        hub.add_token("hf_owner", "owner")
        hub.redirect(monkeypatch, tmp_path / "home", token="hf_owner")
        original = VideoIndex.open(tmp_path / "index", *load_pretrained(tmp_path / "model"))
        original.push_to_hub("owner/clips", include_videos=True)
        settings = Settings(model=str(tmp_path / "model"), index="owner/clips")
        page, services = serve(settings, "127.0.0.1", block=False)
        try:
            base = page.local_url
            hit = services.library.index.search("red", k=1)[0]
            name = hit.id
            video = httpx.get(base + video_url("index", name))
            assert video.status_code == 200 and video.content == (tmp_path / "videos" / name).read_bytes()
            picture = httpx.get(base + frame_url("index", name, float(hit.frame_times[2])), timeout=60)
            assert picture.content.startswith(b"\xff\xd8")
        finally:
            page.close()
            services.close()


@pytest.mark.parametrize(
    ("path", "served"),
    [
        ("videos/a.mp4", True),
        ("videos/plain.mp4", True),
        ("videos/../videos/a.mp4", True),
        ("../../blobs/1234", False),
        ("../../blobs/other.mp4", False),
        ("videos/config.json", False),
        ("videos/outside.mp4", False),
        ("videos", False),
        ("/etc/passwd", False),
        ("videos/\0.mp4", False),
    ],
)
def test_a_snapshots_links_lead_to_its_own_blobs_alone(tmp_path, path, served):
    repo = tmp_path / "datasets--owner--clips"
    snapshot = repo / "snapshots" / "abcd"
    (snapshot / "videos").mkdir(parents=True)
    (repo / "blobs").mkdir()
    for file in (repo / "blobs" / "1234", repo / "blobs" / "other.mp4", tmp_path / "outside.mp4"):
        file.write_bytes(b"video")
    (snapshot / "videos" / "plain.mp4").write_bytes(b"video")
    for name, target in {"a.mp4": "blobs/1234", "config.json": "blobs/1234", "outside.mp4": "../outside.mp4"}.items():
        os.symlink(repo / target, snapshot / "videos" / name)
    found = Media(None, None, None, root=snapshot)._playable(path, "index")
    assert (found is not None) == served
    assert not served or found.read_bytes() == b"video"
