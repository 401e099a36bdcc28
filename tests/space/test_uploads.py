"""What visitors add: limits, isolation, clean-up, and files that attack the decoder."""

import json
import os
import signal
import time
from dataclasses import replace
from threading import Thread

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from space_server import QUERY, moving_square
from video_files import write_video

from dmae.modeling.video_reading import VideoDecodeError
from dmae.retrieval import VideoIndex
from dmae.space.add_tab import add_files, file_list
from dmae.space.decoding import Decoder
from dmae.space.library import UserError
from dmae.space.settings import Settings
from dmae.space.texts import texts
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


def test_programs_ask_for_sure_results_and_for_none_twice(space):
    client = Client(space.url, verbose=False)
    confidences = sorted(hit.confidence for hit in space.index.search(QUERY, k=14))
    least = (confidences[6] + confidences[7]) / 2
    sure = client.predict(QUERY, 14, min_confidence=least, api_name="/search")
    assert [hit["id"] for hit in sure] == space.ids(QUERY, 14, min_confidence=least)
    assert all(hit["confidence"] >= least - 1e-4 for hit in sure) and len(sure) < 14
    apart = client.predict(QUERY, 14, distinct=True, api_name="/search")
    assert [hit["id"] for hit in apart] == space.ids(QUERY, 14, distinct=0.95)
    with pytest.raises(AppError, match="from 0 to 1"):
        client.predict(QUERY, 14, min_confidence=1.5, api_name="/search")


def test_a_call_that_knows_fewer_parameters_goes_on_working(space):
    with httpx.Client(base_url=space.url, timeout=60) as client:
        event = client.post("gradio_api/call/search", json={"data": [QUERY, 3]}).json()["event_id"]
        answer = client.get(f"gradio_api/call/search/{event}").text
    assert [hit["id"] for hit in json.loads(answer.split("data: ", 1)[1])[0]] == space.ids(QUERY, 3)


@pytest.fixture
def cinema_shelves(space, tmp_path):
    """Shelves where a visitor may add long videos."""
    shelves = Shelves(space.services.library, space.services.decoder, Settings(max_seconds=300), tmp_path)
    yield replace(space.services, shelves=shelves)
    shelves.close()


def long_video(folder, name="film.mp4", scenes=(0, 1, 2, 3, 4), seconds=20):
    pictures = [picture for scene in scenes for picture in moving_square(scene, seconds)[::5]]
    return str(write_video(folder / name, pictures, rate=2, options={"g": "10"}))


def test_a_long_video_is_read_bit_by_bit_and_cut_as_the_index_does(cinema_shelves, tmp_path, space):
    (tmp_path / "sent").mkdir()
    states = []
    for files in add_files(cinema_shelves, [long_video(tmp_path / "sent")], "anna", texts("en")):
        states.append((files[0].state, files[0].share, file_list(files, texts("en"))))
    shares = [share for state, share, _ in states if state == "reading" and share is not None]
    assert len(shares) > 2 and shares == sorted(shares) and 0 < shares[0] < 0.5 < shares[-1] <= 1
    assert states[0][:2] == ("reading", None) and "<progress" not in states[0][2]
    shown = next(shown for _, share, shown in states if share == shares[0])
    assert f'<progress value="{shares[0]:.3f}" aria-label="film.mp4">' in shown
    assert f"{int(100 * shares[0])} % read" in shown
    assert states[-1][0] == "ready" and "<progress" not in states[-1][2] and "film.mp4: 01:40" in states[-1][2]
    shelf = cinema_shelves.shelves.of("anna")
    assert (len(shelf), shelf.index.table.num_segments() > 4) == (1, True)
    (hit,) = shelf.index.search(QUERY)
    assert hit.metadata == {"title": "film"} and hit.end - hit.start < hit.duration == pytest.approx(100)
    # As the index itself would have cut it.
    ours = VideoIndex.create(tmp_path / "ours", space.index.model, space.index.processor)
    ours.add(next(shelf.folder.glob("*.mp4")), workers=0)
    spans = ["segment_start", "segment_end", "frame_times"]
    assert _rows(shelf.index, spans) == _rows(ours, spans)


def _rows(index, columns):
    rows = index.table.scan(["segment_number", *columns]).to_pylist()
    return [[row[name] for name in columns] for row in sorted(rows, key=lambda row: row["segment_number"])]


def test_a_long_video_is_read_no_further_when_its_visitor_leaves(cinema_shelves, tmp_path):
    shelves, shares = cinema_shelves.shelves, []
    leaving = Thread(target=shelves.remove, args=["anna"])

    def leave(share):
        shares.append(share)
        secret = shelves.of("anna").secret
        leaving.start()  # it waits for what is being done to the shelf
        while shelves.by_secret(secret) is not None:
            time.sleep(0.01)

    with pytest.raises(UserError):
        shelves.add("anna", long_video(tmp_path), leave)
    leaving.join(30)
    assert len(shares) == 1 and list(shelves.root.iterdir()) == []
    assert len(cinema_shelves.decoder.read(video(tmp_path), num_frames=3)) == 3  # whoever comes next is served


def test_a_long_video_that_ends_in_the_middle_is_told_and_leaves_nothing(cinema_shelves, tmp_path, monkeypatch):
    (tmp_path / "sent").mkdir()
    whole = cinema_shelves.decoder.film

    def broken(*arguments, **options):
        yield next(whole(*arguments, **options))
        raise VideoDecodeError("film.mp4", "cannot be read further")

    monkeypatch.setattr(cinema_shelves.decoder, "film", broken)
    *_, last = add_files(cinema_shelves, [long_video(tmp_path / "sent")], "anna", texts("de"))
    assert (last[0].state, last[0].note) == ("failed", "nicht lesbar (cannot be read further).")
    shelf = cinema_shelves.shelves.of("anna")
    assert len(shelf) == 0 and list(shelf.folder.glob("*.mp4")) == []


def test_a_film_comes_from_a_worker_in_chunks_and_an_abandoned_one_frees_it(tmp_path):
    decoder, path = Decoder(timeout=30), long_video(tmp_path)
    chunks = list(decoder.film(path, 1.0, size=32))
    assert len(chunks) > 2 and sum(len(chunk.moments) for chunk in chunks) == 100
    abandoned = decoder.film(path, 1.0, size=32)
    next(abandoned)
    abandoned.close()
    assert len(decoder.read(path, num_frames=3)) == 3
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(VideoDecodeError, match=r"broken\.mp4"):
        list(decoder.film(str(tmp_path / "broken.mp4"), 1.0, size=32))
    decoder.close()
