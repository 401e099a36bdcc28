"""What visitors add: limits, isolation, clean-up, and files that attack the decoder."""

import os
import signal
import time

import pytest
from gradio_client import Client, handle_file
from space_server import QUERY, moving_square
from video_files import write_video

from dmae.modeling.video_reading import VideoDecodeError
from dmae.space.decoding import Decoder
from dmae.space.library import UserError
from dmae.space.settings import Settings
from dmae.space.uploads import Shelves


@pytest.fixture
def shelves(space, tmp_path):
    settings = Settings(max_uploads=2, max_file_mb=1, max_seconds=3, max_disk_mb=2, session_minutes=1)
    shelves = Shelves(space.services.library, space.services.decoder, settings, tmp_path)
    yield shelves
    shelves.close()


def video(folder, name="clip.mp4", seconds=2):
    return str(write_video(folder / name, moving_square(5, seconds), rate=10))


def test_a_shelf_is_found_by_its_session_and_its_secret_only(shelves, tmp_path, space):
    assert shelves.add("anna", video(tmp_path)) == ("clip", pytest.approx(2.0))
    shelf = shelves.of("anna")
    assert shelves.of("bert") is None and shelves.of(None) is None and shelves.by_secret("anna") is None
    assert shelves.by_secret(shelf.secret) is shelf and len(shelf.secret) == 32
    library = space.services.library
    query = library.ask(QUERY)
    assert shelf.secret in {r.scope for r in library.search(query, 15, shelf=shelf).results}
    with pytest.raises(UserError, match="no longer here"):
        library.explain(query, shelf.secret, shelf.index.search(QUERY)[0].id, None)


def test_limits_are_told_and_leave_nothing_behind(shelves, tmp_path):
    big, notes = tmp_path / "big.mp4", tmp_path / "notes.txt"
    big.write_bytes(b"\0" * 1_100_000)
    notes.write_text("hello")
    for file, reason in (
        (str(big), "over the limit of 1 MB"),
        (video(tmp_path, "long.mp4", 4), "limit"),
        (str(notes), "not a video file"),
    ):
        with pytest.raises(UserError, match=reason):
            shelves.add("anna", file)
    shelf = shelves.of("anna")
    assert shelf is None or [p for p in shelf.folder.iterdir() if p.name != "index"] == []
    for n in range(2):
        shelves.add("anna", video(tmp_path, f"{n}.mp4"))
    with pytest.raises(UserError, match="as many as one visitor may add"):
        shelves.add("anna", video(tmp_path, "third.mp4"))
    assert shelves.add("bert", video(tmp_path, "other.mp4"))[0] == "other"


def test_a_full_disk_is_told(space, tmp_path):
    shelves = Shelves(space.services.library, space.services.decoder, Settings(max_disk_mb=1), tmp_path)
    (shelves.root / "taken").write_bytes(b"\0" * 1_000_000)
    with pytest.raises(UserError, match="no room"):
        shelves.add("anna", video(tmp_path))
    shelves.close()


def test_idle_visitors_are_swept(shelves, tmp_path):
    shelves.add("anna", video(tmp_path))
    shelves.add("bert", video(tmp_path, "b.mp4"))
    anna, bert = shelves.of("anna"), shelves.of("bert")
    anna.used = time.monotonic() - 61
    shelves.sweep()
    assert shelves.of("anna") is None and shelves.of("bert") is bert
    assert not anna.folder.exists() and bert.folder.exists()


def test_a_killed_or_hanging_decoder_is_replaced(tmp_path):
    decoder = Decoder(timeout=30)
    path = video(tmp_path)
    assert len(decoder.read(path, num_frames=3)) == 3
    worker = decoder._idle.get()
    os.kill(worker._process.pid, signal.SIGKILL)
    decoder._idle.put(worker)
    pipe = tmp_path / "never.mp4"
    os.mkfifo(pipe)
    try:
        decoder.read(path, num_frames=3)
    except VideoDecodeError as error:  # it died before it was seen to be dead
        assert "killed" in str(error)
    decoder._timeout = 0.5
    with pytest.raises(VideoDecodeError, match=r"never\.mp4"):
        decoder.read(str(pipe), num_frames=3)
    decoder._timeout = 30
    assert len(decoder.read(path, num_frames=3)) == 3
    decoder.close()


def test_programs_search_explain_and_add(space, tmp_path):
    client, other = Client(space.url, verbose=False), Client(space.url, verbose=False)
    hits = client.predict(QUERY, 5, 0, 0, api_name="/search")
    assert [hit["id"] for hit in hits] == space.ids(QUERY, 5)
    assert "path" not in hits[0] and hits[0]["video"].startswith("media/index/")
    why = client.predict(QUERY, hits[0]["id"], api_name="/explain")
    assert why["words"] == QUERY.split() and len(why["similarity"][0]) == len(why["frame_times"]) == 6
    assert why["score"] == pytest.approx(hits[0]["score"], abs=1e-4)
    added = client.predict(handle_file(video(tmp_path, "mine.mp4")), api_name="/add")
    assert added == {"title": "mine", "duration": pytest.approx(2.0)}
    mine = [h for h in client.predict(QUERY, 50, 0, 0, api_name="/search") if h["scope"] != "index"]
    assert [hit["title"] for hit in mine] == ["mine"]
    assert len(other.predict(QUERY, 50, 0, 0, api_name="/search")) == 14
    assert client.predict(QUERY, 50, 3, 0, api_name="/search")[0]["duration"] > 3
