"""Corpora that are no local folder: object stores, the Hub, lists of URLs, rows of a dataset."""

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, Features, Value, Video
from hub_server import HubServer
from huggingface_hub import HfApi
from object_store import s3_client, s3_server
from training_parts import tiny_model
from video_files import write_video

from dmae.modeling import read_frames, remote_videos
from dmae.modeling.remote_videos import RemoteVideo
from dmae.retrieval import VideoIndex, VideoIndexError

NAMES = ["a.mp4", "b.mp4", "deep/er/c.mkv"]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture
def index(model, tmp_path):
    return VideoIndex.create(tmp_path / "index", *model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three videos that differ, one broken file, and two that do not count."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pictures = [np.full((48, 64, 3), 20 + 90 * ((number + n // 5) % 3), np.uint8) for n in range(10)]
        write_video(folder / name, pictures, size=(64, 48), rate=5)
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42 this is no video" * 50)
    (folder / ".hidden.mp4").write_bytes(b"hidden")
    (folder / "notes.md").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def endpoint():
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(endpoint, folder, request):
    """A bucket of this test's own with the folder's files below `clips/`: `(client, name, options)`."""
    client, name = s3_client(endpoint), f"b{abs(hash(request.node.name)) % 10**9}"
    client.create_bucket(Bucket=name)
    for path in filter(lambda path: path.is_file(), folder.rglob("*")):
        client.upload_file(str(path), name, f"clips/{path.relative_to(folder)}")
    return client, name, {"key": "x", "secret": "x", "endpoint_url": endpoint}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with HubServer() as server:
        server.add_token("hf_owner", "owner")
        server.redirect(monkeypatch, tmp_path / "home", token="hf_owner")
        yield server


def rows_of(index) -> dict[str, dict]:
    columns = ["id", "path", "content_hash", "file_size", "modified", "frames", "frame_times", "thumbnail", "duration"]
    return {row["id"]: row for row in index.table.scan(columns).to_pylist()}


def assert_same_content(index, model, folder, tmp_path) -> None:
    """The index holds what `add` of the local folder makes, but for where the files are."""
    local = VideoIndex.create(tmp_path / "local", *model)
    local.add(folder, workers=0)
    ours, theirs = rows_of(index), rows_of(local)
    assert sorted(ours) == sorted(theirs)
    for name, row in theirs.items():
        for column in ("frames", "frame_times", "thumbnail", "duration"):
            assert ours[name][column] == row[column], (name, column)


def test_a_bucket_is_indexed_and_followed_as_a_folder_is(index, model, bucket, folder, tmp_path):
    client, name, options = bucket
    url = f"s3://{name}/clips"
    report = index.add(url, source_options=options, workers=1)
    assert report.added == 3 and [path for path, _ in report.failed] == [f"{url}/broken.mp4"]
    assert "s3://" not in report.failed[0][1]
    assert {row["path"] for row in rows_of(index).values()} == {f"{url}/{n}" for n in NAMES}
    assert_same_content(index, model, folder, tmp_path)

    again = index.add(f"{url}/", source_options=options, workers=0)
    assert (again.added, again.updated, again.unchanged, len(again.failed)) == (0, 0, 3, 1)

    client.upload_file(str(folder / "a.mp4"), name, "clips/b.mp4")
    client.delete_object(Bucket=name, Key="clips/a.mp4")
    report = index.add(url, source_options=options, workers=0)
    assert (report.added, report.updated, report.unchanged, report.vanished) == (0, 1, 1, ["a.mp4"])
    assert index.add(url, source_options=options, workers=0, prune=True).removed == 1


def test_a_bucket_that_was_copied_elsewhere_is_not_encoded_again(index, bucket, monkeypatch):
    client, name, options = bucket
    index.add(f"s3://{name}/clips", source_options=options, workers=0)
    for key in [item["Key"] for item in client.list_objects_v2(Bucket=name)["Contents"]]:
        client.copy_object(Bucket=name, Key=key.replace("clips/", "moved/"), CopySource={"Bucket": name, "Key": key})
        client.delete_object(Bucket=name, Key=key)
    with monkeypatch.context() as patch:
        patch.setattr(index.model, "get_video_features", None)
        report = index.add(f"s3://{name}/moved", source_options=options, workers=0, retry_failed=True)
    assert (report.added, report.updated, report.unchanged, report.vanished) == (0, 0, 3, [])
    assert {row["path"] for row in rows_of(index).values()} == {f"s3://{name}/moved/{n}" for n in NAMES}


def test_a_list_names_urls_and_paths(index, bucket, folder, tmp_path):
    _, name, options = bucket
    lines = ["# two places", f"s3://{name}/clips/a.mp4", "", "b.mp4", f"s3://{name}/clips/gone.mp4", "nowhere.mp4"]
    (tmp_path / "list.txt").write_text("\n".join([*lines, f"file://{folder}/deep/er/c.mkv"]))
    (tmp_path / "b.mp4").write_bytes((folder / "b.mp4").read_bytes())
    report = index.add(tmp_path / "list.txt", source_options=options, workers=0)
    assert report.added == 3 and sorted(rows_of(index)) == ["a.mp4", "b.mp4", "c.mkv"]
    assert {path: reason[:7] for path, reason in report.failed} == {
        f"s3://{name}/clips/gone.mp4": "no such",
        str(tmp_path / "nowhere.mp4"): "no such",
    }
    assert index.add(tmp_path / "list.txt", source_options=options, workers=0).unchanged == 3


def test_a_place_that_cannot_be_listed_loses_nothing(index, bucket, folder):
    _, name, options = bucket
    sources = [f"s3://{name}/clips", folder]
    assert index.add(sources, source_options=options, workers=0).added == 6
    report = index.add([f"s3://elsewhere-{name}", folder], source_options=options, workers=0, prune=True)
    assert (report.unchanged, report.vanished, report.removed) == (3, [], 0)
    assert f"s3://elsewhere-{name}" in [path for path, _ in report.failed]


def test_files_of_the_hub_are_read_in_ranges(hub, index, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_videos, "WHOLE", 1 << 16)
    monkeypatch.setattr(remote_videos, "BLOCK", 1 << 15)
    noise = np.random.default_rng(0).integers(0, 255, (60, 120, 160, 3), dtype=np.uint8)
    video = write_video(tmp_path / "noise.mp4", list(noise), size=(160, 120), options={"g": "5"})
    api = HfApi()
    api.create_repo("owner/clips", repo_type="dataset")
    api.upload_file(path_or_fileobj=video, path_in_repo="deep/noise.mp4", repo_id="owner/clips", repo_type="dataset")
    size, before = video.stat().st_size, hub.sent
    url = "hf://datasets/owner/clips/deep/noise.mp4"
    frames = read_frames(RemoteVideo(url), num_frames=2)
    np.testing.assert_array_equal(frames.frames, read_frames(video, num_frames=2).frames)
    assert size > 1 << 20 and hub.sent - before < size / 2
    for name in ("owner/clips", "hf://datasets/owner/clips", url):
        report = index.add(name, workers=1)
        assert report.added + report.unchanged == 1, report
    assert list(rows_of(index)) == ["deep/noise.mp4"]


def as_rows(folder, column: str = "video") -> Dataset:
    values = [{"path": name, "bytes": (folder / name).read_bytes()} for name in [*NAMES, "broken.mp4"]]
    rows = {column: values, "caption": list("abcd")}
    return Dataset.from_dict(rows).cast(Features({column: Video(decode=False), "caption": Value("string")}))


def test_rows_of_a_dataset_are_videos(index, model, folder, tmp_path):
    rows = as_rows(folder)
    report = index.add(rows, workers=1)
    assert report.added == 3 and [path.endswith("/broken.mp4") for path, _ in report.failed] == [True]
    assert_same_content(index, model, folder, tmp_path)
    assert index.add(rows, workers=0).unchanged == 3
    fewer = index.add(
        rows.select([2, 0, 3]), workers=0
    )  # another dataset, as it is not told what the first was called
    assert fewer.unchanged + fewer.added == 2 and not fewer.vanished


def test_the_name_of_a_dataset_stands_for_its_rows(hub, index, folder, tmp_path, monkeypatch):
    from datasets import config

    monkeypatch.setattr(config, "HF_ENDPOINT", hub.endpoint)
    splits = DatasetDict({"train": as_rows(folder).select([0, 3]), "test": as_rows(folder).select([1, 2])})
    for split, rows in splits.items():
        rows.cast_column("video", Video()).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    api = HfApi()
    api.create_repo("owner/rows", repo_type="dataset")
    api.upload_folder(
        folder_path=tmp_path,
        path_in_repo="data",
        repo_id="owner/rows",
        repo_type="dataset",
        allow_patterns="*.parquet",
    )
    report = index.add("owner/rows", workers=0)
    assert report.added == 3 and [path for path, _ in report.failed] == ["dataset:owner/rows/train/broken.mp4"]
    assert rows_of(index)["b.mp4"]["path"] == "dataset:owner/rows/test/b.mp4"
    assert index.add("owner/rows", workers=0).unchanged == 3


def test_a_column_of_urls_and_paths_leads_to_files(index, bucket, folder):
    _, name, options = bucket
    rows = Dataset.from_dict({"video": [str(folder / "a.mp4"), f"s3://{name}/clips/b.mp4", None]})
    report = index.add(rows, source_options=options, workers=0)
    assert report.added == 2 and sorted(rows_of(index)) == ["a.mp4", "b.mp4"]
    assert [reason for _, reason in report.failed] == ["the row has neither a path nor bytes"]


def test_what_cannot_be_reached_is_one_line(index, bucket, monkeypatch, tmp_path):
    _, name, options = bucket
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    nothing = tmp_path / "list.txt"
    nothing.write_text("# nothing yet\n\n")
    for source, given, message in (
        (
            f"s3://{name}/clips",
            {"endpoint_url": options["endpoint_url"]},
            "credentials are missing.*AWS_ACCESS_KEY_ID",
        ),
        (f"s3://{name}/elsewhere", options, "no such file or folder"),
        ("http://127.0.0.1:9/a.mp4", {}, r"a.mp4: cannot be reached \(.*127\.0\.0\.1"),
        ("gs://bucket/clips", {}, "needs the package gcsfs"),
        ("nothing://bucket/clips", {}, "is no store that fsspec knows"),
        (str(nothing), {}, "no videos in .*: .* a .txt file names one path or URL per line"),
        ("owner/missing", {}, "no file or folder .*, nor a dataset owner/missing of the Hub"),
        (Dataset.from_dict({"caption": ["a"]}), {}, "no column 'video' or 'file_name'; it has caption"),
        (as_stream(), {}, "is a stream"),
    ):
        with pytest.raises(VideoIndexError, match=message) as error:
            index.add(source, source_options=given)
        assert "\n" not in str(error.value)


def as_stream():
    return Dataset.from_dict({"video": ["a.mp4"]}).to_iterable_dataset()
