"""An index on the Hub and on an object store."""

import threading
from pathlib import Path

import pytest
from embeddings import exhaustive, texts, videos
from hub_server import HubServer
from huggingface_hub import hf_hub_download
from object_store import KEYS, s3_client, s3_server
from training_parts import tiny_model
from video_files import write_video

from dmae.cli import main
from dmae.retrieval import VideoIndex, VideoIndexError
from dmae.retrieval.sharing.hub import shared_name

DIM = 16


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with HubServer() as server:
        server.add_token("hf_owner", "owner")
        server.redirect(monkeypatch, tmp_path / "home", token="hf_owner")
        yield server


def test_a_shared_index_searches_as_the_original(hub, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        write_video(tmp_path / "videos" / f"{name}.mp4", 8 + 4 * ord(name) % 13)
    index = VideoIndex.create(tmp_path / "index", *tiny_model())
    index.add(tmp_path / "videos")
    for _ in range(2):  # the second push replaces the first
        index.push_to_hub("owner/clips")
    shared = VideoIndex.from_hub("owner/clips", index.model, index.processor)
    assert len(shared) == 3
    mine, theirs = index.search("red square"), shared.search("red square")
    assert [(h.id, round(h.score, 6)) for h in theirs] == [(h.id, round(h.score, 6)) for h in mine]
    assert {h.path for h in theirs} == {"videos/a.mp4", "videos/b.mp4", "videos/c.mp4"}  # no path of this machine
    assert len(shared.thumbnails(["a.mp4", "b.mp4", "c.mp4"])) == 3
    with pytest.raises(VideoIndexError, match="read-only"):
        shared.delete("a.mp4")
    other, processor = tiny_model(seed=9)
    with pytest.raises(VideoIndexError, match="made with the model"):
        VideoIndex.open(shared.uri, other, processor)


def test_the_card_and_the_videos_travel_when_asked(hub, tmp_path):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", 8)
    index = VideoIndex.create(tmp_path / "index", *tiny_model())
    index.add(tmp_path / "videos")
    index.push_to_hub("owner/clips", include_videos=True, model_id="owner/model")
    card = Path(hf_hub_download("owner/clips", "README.md", repo_type="dataset")).read_text()
    video = Path(hf_hub_download("owner/clips", "videos/a.mp4", repo_type="dataset")).read_bytes()
    assert (
        "A video index of 1 videos" in card and 'load_pretrained("owner/model")' in card and card.startswith("---\n")
    )
    assert video[4:8] == b"ftyp" and str(tmp_path) not in card
    shared = VideoIndex.from_hub("owner/clips", index.model, index.processor, videos=True)
    (hit,) = shared.search("red", k=1)
    assert (Path(shared.uri).parent / hit.path).read_bytes() == video
    (tmp_path / "videos" / "a.mp4").unlink()
    with pytest.raises(VideoIndexError, match="cannot be uploaded"):
        index.push_to_hub("owner/clips", include_videos=True)


def test_the_command_shares_and_says_what_is_wrong(hub, tmp_path, capsys):
    index = VideoIndex.create(tmp_path / "index", dim=DIM)
    index.add_embeddings(["a"], *videos(1, frames=3, dim=DIM))
    command = ["push-index", "owner/clips", "--index", str(tmp_path / "index"), "--model-id", "owner/model"]
    assert main(command) == 0
    assert capsys.readouterr().out.strip().endswith("/datasets/owner/clips")
    assert len(VideoIndex.from_hub("owner/clips")) == 1
    for arguments, told in (
        (["push-index", "no name", "--index", str(tmp_path / "index")], "no repository name"),
        (["push-index", "somebody/else", "--index", str(tmp_path / "index")], "could not be published"),
        (["push-index", "owner/clips", "--index", str(tmp_path / "nowhere")], "nowhere"),
        ([*command, "--videos"], "cannot be uploaded"),
    ):
        assert main(arguments) == 2
        *_, error = capsys.readouterr().err.strip().splitlines()
        assert error.startswith("dmae push-index: error: ") and told in error


def test_two_videos_of_one_shared_name_are_refused_and_stay_as_they_are(hub, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    index = VideoIndex.create(tmp_path / "index", dim=DIM)
    frames, mask = videos(2, frames=3, dim=DIM)
    paths = [{"path": str(tmp_path / name)} for name in ("a", "b")]
    index.add_embeddings(["clip.mp4", "../clip.mp4"], frames, mask, paths)
    with pytest.raises(VideoIndexError, match=r"another is 'videos/clip\.mp4' too"):
        index.push_to_hub("owner/clips", include_videos=True)
    assert [(tmp_path / name).read_text() for name in ("a", "b")] == ["a", "b"]


@pytest.mark.parametrize("hostile", ["../../etc/passwd", "/etc/passwd", "a/../../b", ".."])
def test_a_shared_video_never_leaves_its_folder(hostile):
    assert ".." not in shared_name(hostile).split("/") and shared_name(hostile).startswith("videos")


@pytest.fixture(scope="module")
def object_store():
    """moto's S3 in a process of its own, as storage options."""
    with s3_server() as endpoint:
        s3_client(endpoint).create_bucket(Bucket="videos")
        yield {**KEYS, "aws_region": "us-east-1", "aws_endpoint": endpoint, "allow_http": "true"}


def test_an_object_store_without_credentials_tells_how_to_give_them(object_store, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # a cloud's machines are given theirs, these are not
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    bare = {name: value for name, value in object_store.items() if name not in KEYS}
    with pytest.raises(
        VideoIndexError, match=r"s3://videos/bare: no credentials .* set AWS_ACCESS_KEY_ID and"
    ) as told:
        VideoIndex.open("s3://videos/bare", storage_options=bare)
    assert "storage_options" in str(told.value) and "\n" not in str(told.value)


def test_two_writers_and_two_readers_on_an_object_store(object_store):
    frames, mask = videos(40, frames=3, dim=DIM)
    uri = "s3://videos/index"
    with pytest.raises(VideoIndexError, match="no video index at s3://"):
        VideoIndex.open(uri, storage_options=object_store)
    VideoIndex.create(uri, dim=DIM, dtype="float32", storage_options=object_store)
    problems, done = [], threading.Event()

    def write(start: int) -> None:
        index = VideoIndex.open(uri, storage_options=object_store)
        for n in range(start, 40, 8):
            index.add_embeddings([f"v{i}" for i in range(n, n + 4)], frames[n : n + 4], mask[n : n + 4])

    def read() -> None:
        index = VideoIndex.open(uri, storage_options=object_store)
        while not done.is_set():
            hits = index.search_embeddings(*texts(frames, 1), k=40)[0]
            if len({h.id for h in hits}) != len(hits):
                problems.append([h.id for h in hits])

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(start,)) for start in (0, 4)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    index = VideoIndex.open(uri, storage_options=object_store)
    assert not problems and len(index) == 40
    _, positions = exhaustive(texts(frames, 2), frames, mask)
    found = [[h.id for h in row] for row in index.search_embeddings(*texts(frames, 2), k=10)]
    assert found == [[f"v{p}" for p in row] for row in positions.tolist()]
    with pytest.raises(VideoIndexError, match="overwrite=True"):
        VideoIndex.create(uri, dim=DIM, storage_options=object_store)


def test_an_unreachable_object_store_is_one_line():
    options = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "aws_region": "us-east-1"}
    options |= {"aws_endpoint": "http://127.0.0.1:9", "allow_http": "true", "client_max_retries": "0", "timeout": "2s"}
    options |= {"connect_timeout": "1s", "client_retry_timeout": "1"}
    with pytest.raises(VideoIndexError, match=r"cannot be reached; look at aws_endpoint"):
        VideoIndex.open("s3://videos/nowhere", storage_options=options)


def test_a_missing_bucket_is_named(object_store):
    with pytest.raises(VideoIndexError, match=r"s3://elsewhere/i: the object store has no such bucket"):
        VideoIndex.create("s3://elsewhere/i", dim=DIM, storage_options=object_store)
