"""A table here, its videos at a URL: in a bucket, in a Hub repository, on a web server."""

import json
import logging
import shutil

import pytest
from datasets import Dataset
from hub_server import HubServer
from object_store import KEYS, s3_client, s3_server
from stand_in import stand_in
from training_parts import loss_curve, save_tiny_model, write_corpus

from dmae.cli import main
from dmae.modeling import read_frames
from dmae.modeling.remote_videos import RemoteVideo
from dmae.training.config import TrainConfig
from dmae.training.corpora import CorpusError, VideoSample, load_samples
from dmae.training.loop import train, warn_of_shared_videos

VIDEOS = 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "whole", VIDEOS)


@pytest.fixture(scope="module")
def table(corpus, tmp_path_factory):
    """The captions alone."""
    folder = tmp_path_factory.mktemp("table")
    shutil.copy(corpus / "captions.jsonl", folder)
    return folder


@pytest.fixture(scope="module")
def bucket(corpus):
    """The videos alone, with the credentials in the environment."""
    import s3fs

    with s3_server() as endpoint, pytest.MonkeyPatch.context() as patch:
        client = s3_client(endpoint)
        client.create_bucket(Bucket="films")
        for path in corpus.glob("*.mp4"):
            client.upload_file(str(path), "films", f"deep/{path.name}")
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        for name, value in KEYS.items():
            patch.setenv(name.upper(), value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield "s3://films/deep"
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def hub(corpus, monkeypatch, tmp_path):
    with HubServer() as server:
        api = server.as_owner(monkeypatch, tmp_path / "home")
        api.create_repo("owner/clips", repo_type="dataset")
        api.upload_folder(folder_path=corpus, path_in_repo="deep", repo_id="owner/clips", repo_type="dataset")
        yield "hf://datasets/owner/clips"


def test_training_on_a_bucket_is_training_on_a_folder(corpus, table, bucket, tmp_path):
    model = save_tiny_model(tmp_path / "model", corpus)
    settings = {"model": str(model), "max_steps": 2, "batch_size": 3, "num_workers": 1, "eval_split": None}
    settings |= {"cache_frames": "memory", "log_every": 1, "progress": False, "cpu": True}
    here = TrainConfig(dataset=str(corpus), output_dir=str(tmp_path / "here"), **settings)
    there = TrainConfig(dataset=str(table), videos=bucket, output_dir=str(tmp_path / "there"), **settings)
    for config in (here, there):
        train(config)
    assert loss_curve(tmp_path / "there") == loss_curve(tmp_path / "here")


def test_evaluation_and_the_frame_cache_read_a_bucket(corpus, table, bucket, tmp_path, capsys):
    model = save_tiny_model(tmp_path / "model", corpus)
    metrics = []
    for source, more in ((corpus, ()), (table, ("--videos", bucket))):
        arguments = ["evaluate", model, source, *more, "--device", "cpu", "--workers", "1", "--json", "-"]
        assert main(list(map(str, arguments))) == 0
        metrics.append(json.loads(capsys.readouterr().out)["metrics"])
        cache = ["frames", source, tmp_path / f"{len(metrics)}.frames", *more, "--size", "32", "--num-frames", "2"]
        assert main([*map(str, cache), "--workers", "1", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["added"], report["failed"]) == (VIDEOS, {})
    assert metrics[0] == metrics[1]


def test_videos_that_a_bucket_lacks_are_counted(table, bucket, tmp_path, caplog):
    rows = [json.loads(line) for line in (table / "captions.jsonl").read_text().splitlines()]
    rows += [{"video": "gone.mp4", "captions": ["nothing"]}, {"video": f"{bucket}/00.mp4", "captions": ["by its URL"]}]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told = rf"captions without a video: 1 of {VIDEOS + 2} videos are not in {bucket} \(gone\.mp4\)"
    with pytest.raises(CorpusError, match=told):
        load_samples(str(tmp_path), "train", videos=bucket)
    with caplog.at_level(logging.WARNING):
        samples = load_samples(str(tmp_path), "train", videos=f"{bucket}/", missing="skip")
    assert "they are left out" in caplog.text and len(samples) == VIDEOS + 1
    assert [sample.video.url for sample in samples[-2:]] == [f"{bucket}/03.mp4", f"{bucket}/00.mp4"]
    assert len(load_samples(str(tmp_path), "train", videos=bucket, missing="keep")) == VIDEOS + 2


def test_the_names_of_a_parquet_are_found_in_a_bucket(bucket, tmp_path):
    rows = {"video": ["01.mp4", "01.mp4", "02.mp4"], "caption": list("abc"), "start": [0.0, 0.5, 0.0]}
    Dataset.from_dict(rows | {"end": [0.5, 1.0, 1.0]}).to_parquet(tmp_path / "train.parquet")
    for streaming in (False, True):
        samples = list(load_samples(str(tmp_path), "train", videos=bucket, streaming=streaming))
        assert [sample.video_id for sample in samples] == ["01.mp4[0-0.5]", "01.mp4[0.5-1]", "02.mp4[0-1]"]
        assert [sample.video.url for sample in samples] == [f"{bucket}/{n}" for n in ("01.mp4", "01.mp4", "02.mp4")]
    url = f"{bucket}/03.mp4"
    Dataset.from_dict({"video": [url], "caption": ["its URL"]}).to_parquet(tmp_path / "train.parquet")
    assert load_samples(str(tmp_path), "train") == [VideoSample(url, RemoteVideo(url), ("its URL",))]


def test_a_benchmark_finds_its_names_in_a_repository(hub, corpus, tmp_path):
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text("key,vid_key,video_id,sentence\nret0,msr1,01,something green\n")
    (sample,) = load_samples("msrvtt", "test", annotations=str(tmp_path), videos=hub)
    assert sample.video.url == f"{hub}/deep/01.mp4"
    assert (read_frames(sample.video, 2).frames == read_frames(corpus / "01.mp4", 2).frames).all()
    for videos, told in ((hub, "give their folder too"), ("https://example.org/films", "does not list its files")):
        given = {} if videos == hub else {"annotations": str(tmp_path)}
        with pytest.raises(CorpusError, match=told):
            load_samples("msrvtt", "test", videos=videos, **given)


def test_a_web_server_is_asked_for_each_name(corpus, table):
    files = {f"/films/{path.name}": path.read_bytes() for path in corpus.glob("*.mp4")}
    with stand_in(files) as (url, _):
        samples = load_samples(str(table), "train", videos=f"{url}/films")
        assert (read_frames(samples[2].video, 2).frames == read_frames(corpus / "02.mp4", 2).frames).all()


@pytest.mark.parametrize(
    ("place", "told"),
    [("s3://films/nowhere", "no such file or folder"), ("s3://films/deep/00.mp4", "is no folder of videos")],
)
def test_a_place_that_holds_no_videos_is_told_in_one_line(table, bucket, place, told):
    with pytest.raises(CorpusError, match=told) as error:
        load_samples(str(table), "train", videos=place)
    assert place in str(error.value) and "\n" not in str(error.value)


def test_evaluating_on_the_urls_that_were_trained_on_is_said(caplog):
    samples = [VideoSample(name, RemoteVideo(f"s3://films/{name}"), ("a",)) for name in ("a.mp4", "b.mp4")]
    with caplog.at_level(logging.WARNING):
        warn_of_shared_videos(samples, samples[:1], "the test split")
    assert "1 of the 1 videos of the test split are trained on too" in caplog.text
