"""Crafted requests get nothing but the videos and pictures of the open index and of the visitor's own."""

import json
import shutil
import socket

import httpx
import numpy as np
import pytest
from space_server import moving_square, start_space
from video_files import write_video

from dmae.modeling import load_pretrained
from dmae.retrieval import VideoIndex
from dmae.space.library import encode_id, frame_url, video_url

SECRET = "a secret that must never be served"
KNOWN = "clip_00_long.mp4"


@pytest.fixture(scope="module")
def client(space):
    with httpx.Client(base_url=space.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("elsewhere") / "secret.txt"
    file.write_text(SECRET)
    return file


def call(client, name: str, *data):
    """A call of an endpoint as `gradio_client` makes it, by hand."""
    answer = client.post(f"gradio_api/call/{name}", json={"data": list(data), "session_hash": "crafted"})
    if answer.status_code != 200:
        return answer.text
    return client.get(f"gradio_api/call/{name}/{answer.json()['event_id']}").text


def test_what_is_in_the_index_is_served_in_ranges(client, space):
    whole = client.get(video_url("index", KNOWN))
    assert whole.status_code == 200 and whole.headers["content-type"] == "video/mp4"
    assert whole.content == (space.folder / "videos" / KNOWN).read_bytes()
    part = client.get(video_url("index", KNOWN), headers={"Range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == whole.content[10:20]
    times = VideoIndex.open(space.folder / "index").get(KNOWN, ["frame_times"])["frame_times"]
    picture = client.get(frame_url("index", KNOWN, times[3]))
    assert picture.status_code == 200 and picture.content.startswith(b"\xff\xd8")
    assert picture.headers["x-content-type-options"] == "nosniff"


def test_ids_and_numbers_that_are_not_there(client):
    for path in (
        video_url("index", "no such video"),
        video_url("index", "' OR 1=1 --"),
        video_url("index", "../model/config.json"),
        video_url("index", "/etc/passwd"),
        video_url("0" * 32, KNOWN),
        f"media/index/{encode_id(KNOWN)}/7.jpg",
        f"media/index/{encode_id(KNOWN)}/-1.jpg",
        f"media/index/{encode_id(KNOWN)}/clip/1000-500",
        f"media/index/{encode_id(KNOWN)}/clip/0-99999999",
        f"media/index/{encode_id('/etc/passwd')}/clip/0-500",
        f"media/index/{encode_id(KNOWN)}/99999999999999999999.jpg",
        "media/index/%00/video",
        "media/index/%FF%FE/video",
        "media/index/!!!!/video",
        "media/../space/app.py",
        "media/index/..%2f..%2f..%2fetc%2fpasswd/video",
    ):
        answer = client.get(path)
        assert answer.status_code in (404, 405), (path, answer.status_code)
        assert "Traceback" not in answer.text and "root:" not in answer.text


def test_files_of_the_machine_by_gradios_own_routes(client, space, secret_file):
    for target in (
        secret_file,
        space.folder / "model" / "config.json",
        space.folder / "videos" / KNOWN,
        "/etc/passwd",
    ):
        for path in (
            f"gradio_api/file={target}",
            f"gradio_api/file=//{target}",
            f"gradio_api/file=./..{target}",
            f"gradio_api/file=file://{target}",
            f"gradio_api/file=%2e%2e%2f{target}",
            f"file={target}",
            f"gradio_api/proxy=http://127.0.0.1/{target}",
        ):
            answer = client.get(path)
            assert answer.status_code != 200 or SECRET not in answer.text, path
            assert answer.status_code in (400, 401, 403, 404, 422), (path, answer.status_code)


def test_a_file_that_was_not_sent_cannot_be_added_or_searched_with(client, space, secret_file):
    inside = space.folder / "videos" / KNOWN
    for path in (inside, secret_file, "/etc/passwd", "../../etc/passwd"):
        answer = call(client, "add", {"path": str(path), "meta": {"_type": "gradio.FileData"}})
        assert "event: complete" not in answer, path
        assert "Traceback" not in answer and SECRET not in answer
    assert inside.exists()
    answer = call(
        client, "add", {"url": "http://127.0.0.1:9/x.mp4", "path": "x.mp4", "meta": {"_type": "gradio.FileData"}}
    )
    assert "event: complete" not in answer


def test_a_query_that_names_a_file_is_only_a_text(client, space):
    answer = call(client, "search", str(space.folder / "videos" / KNOWN), 3, 0, 0)
    assert "event: complete" in answer
    hits = json.loads(answer.split("data: ", 1)[1])[0]
    assert len(hits) == 3 and all(hit["score"] < 0.99 for hit in hits)
    assert str(space.folder) not in answer


def test_nonsense_is_answered_in_one_sentence(client):
    for data in (
        ("", 5, 0, 0),
        ("x" * 5000, 5, 0, 0),
        ("dog", 0, 0, 0),
        ("dog", 1e9, 0, 0),
        ("dog", 5, "1; DROP TABLE videos", 0),
        ("dog", 5, -1, 0),
        ({"$ne": 1}, None, None, None),
        (),
        ("a", "b", [], {}),
        ({"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, 5, 0, 0),
    ):
        answer = call(client, "search", *data)
        assert "Traceback" not in answer and "/work" not in answer and "site-packages" not in answer, data
    for video_id, scope in (("' OR 1=1 --", "index"), (KNOWN, "../index"), (KNOWN, "0" * 32)):
        answer = call(client, "explain", "dog", video_id, scope)
        assert "no longer here" in answer


def test_a_mistake_of_the_caller_is_one_line_in_the_log(client, caplog, capfd):
    assert client.post("gradio_api/call/nothing", json={"data": []}).status_code == 404
    for data in ((), ("a", "b", 0, 0), ({"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, 5, 0, 0)):
        caplog.clear()
        answer = call(client, "search", *data)
        assert "not the values that are asked for" in answer
        (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert "\n" not in told and len(told) < 300
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_that_leaves_is_no_error(space):
    host, port = space.url.removeprefix("http://").rstrip("/").split(":")
    head = f"POST /gradio_api/call/search HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    for sent in (
        head + 'Content-Length: 100\r\n\r\n{"data',
        head[:40],
        "GET /media/index/x/video HTTP/1.1\r\n\r\n",
        "\x16\x03",
    ):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(sent.encode("latin-1"))
    with httpx.Client(base_url=space.url, timeout=60) as client:
        assert "event: complete" in call(client, "search", "a dog", 1, 0, 0)


def test_the_pages_own_handlers_are_not_listed_and_tell_a_program_nothing_else(client, space):
    names = client.get("gradio_api/info").json()["named_endpoints"]
    assert set(names) == {"/search", "/explain", "/cut", "/add"}
    for name, *data in (
        ("ask",),
        ("choose", None),
        ("restore",),
        ("ask_example", {"path": "/etc/passwd"}, None, None),
    ):
        answer = call(client, name, *data)
        assert "Traceback" not in answer and "root:" not in answer and str(space.folder) not in answer


def test_uploads_over_the_limits_are_refused_before_they_fill_the_disk(client, monkeypatch):
    def send(size: int):
        return client.post("gradio_api/upload", files={"files": ("x.mp4", b"x" * size)})

    assert send(1000).status_code == 200
    assert send(6_000_000).status_code in (400, 413)  # the limit of a file is 5 MB here
    monkeypatch.setattr("dmae.space.guards.folder_bytes", lambda folder: 10**12)
    answer = send(1000)
    assert answer.status_code == 507 and "no room" in answer.text


@pytest.fixture(scope="module")
def crafted(space_files, tmp_path_factory, secret_file):
    """A Space with one folder to play from, whose index lists files that it has no business to serve."""
    folder = tmp_path_factory.mktemp("crafted")
    (folder / "videos").mkdir()
    shutil.copytree(space_files / "model", folder / "model")
    model, processor = load_pretrained(folder / "model")
    inside = write_video(folder / "videos" / "inside.mp4", moving_square(1, 2), rate=10)
    outside = write_video(folder / "outside.mp4", moving_square(2, 2), rate=10)
    index = VideoIndex.create(folder / "index", model, processor)
    index.add([inside, outside], workers=0)
    (folder / "videos" / "link.mp4").symlink_to(secret_file)
    listed = {"secret": secret_file, "link": folder / "videos" / "link.mp4", "passwd": "/etc/passwd", "folder": folder}
    row = index.table.scan(["frames"]).to_pylist()[0]
    frames = np.array([row["frames"]] * len(listed), dtype=np.float32).reshape(len(listed), -1, 64)
    index.add_embeddings(list(listed), frames, None, [{"path": str(path)} for path in listed.values()])
    space, page = start_space(folder, videos=str(folder / "videos"), public=True)
    yield space
    page.close()
    space.services.close()


def test_an_index_that_lists_other_files_gets_nothing_out(crafted):
    with httpx.Client(base_url=crafted.url, timeout=60) as client:
        ids = {
            row["path"].rsplit("/", 1)[-1]: row["id"] for row in crafted.index.table.scan(["id", "path"]).to_pylist()
        }
        assert client.get(video_url("index", ids["inside.mp4"])).status_code == 200
        for name in ("secret", "link", "passwd", "folder", ids["outside.mp4"]):
            answer = client.get(video_url("index", name))
            assert answer.status_code == 404 and SECRET not in answer.text, name


def test_a_public_space_takes_no_videos(crafted):
    with httpx.Client(base_url=crafted.url, timeout=60) as client:
        assert set(client.get("gradio_api/info").json()["named_endpoints"]) == {"/search", "/explain", "/cut"}


def test_a_request_far_too_large_is_refused_before_it_is_read(client):
    def chunks():
        for _ in range(100):
            yield b'{"data": ["' + b"x" * 100_000

    for content in (b"x" * 5_000_000, chunks(), b'{"data": ' + b"[" * 100_000):
        answer = client.post("gradio_api/call/search", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413 and "4000000 bytes" in answer.text
