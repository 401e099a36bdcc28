"""The frame cache gives what `read_frames` gives, goes on where it was stopped, and loses nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset, Video
from hub_server import HubServer
from torch.utils.data import DataLoader
from video_files import middles, numbered, read_numbers, write_video

from dmae.cli import main
from dmae.modeling import DmaeVideoProcessor
from dmae.modeling.dataset_rows import RowVideo
from dmae.training.batches import frames as frame_cache
from dmae.training.batches.frames import CachedFrames, CacheSettings, write_frame_cache
from dmae.training.batches.loading import make_frames
from dmae.training.config import ConfigError, TrainConfig
from dmae.training.corpora import CorpusError, VideoSample, load_samples

SETTINGS = CacheSettings(num_frames=4, candidates=3, size=32)
COUNTS = [24, 36, 48]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "train"
    folder.mkdir()
    paths = [write_video(folder / f"{n}.mp4", n, options={"g": "10"}, size=(64, 64)) for n in COUNTS]
    lines = [json.dumps({"video": path.name, "captions": ["numbers"]}) for path in paths]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return [VideoSample(path.name, str(path), ("numbers",)) for path in paths]


def numbers(item) -> list[int]:
    return read_numbers(item[0].permute(0, 2, 3, 1).numpy())


def test_midpoints_are_those_of_the_file(samples, tmp_path):
    report = write_frame_cache(samples, tmp_path, SETTINGS, workers=0, progress=False)
    assert (report.added, report.present, report.failed) == (3, 0, {})
    cached = CachedFrames(tmp_path, samples)
    square = {"height": 32, "width": 32}
    processor = DmaeVideoProcessor(num_frames=4, size={"shortest_edge": 32}, crop_size=square)
    for index, (sample, count) in enumerate(zip(samples, COUNTS)):
        frames, mask = cached[index]
        assert frames.shape == (4, 3, 32, 32) and frames.dtype == torch.uint8 and mask.tolist() == [1] * 4
        assert numbers(cached[index]) == middles(count, 4)
        direct = processor(sample.video, do_rescale=False, do_normalize=False, return_tensors="pt")
        assert torch.equal(frames, direct["pixel_values_videos"][0])


def test_random_segments_by_item_and_epoch(samples, tmp_path):
    write_frame_cache(samples, tmp_path, SETTINGS, workers=0, progress=False)
    cached = CachedFrames(tmp_path, samples, random_segments=True, seed=5)
    drawn = []
    for epoch in range(12):
        cached.set_epoch(epoch)
        drawn.append(numbers(cached[2]))
        assert drawn[-1] == numbers(cached[2])
    candidates = np.reshape(middles(48, 12), (4, 3))
    for segment in range(4):
        assert {frames[segment] for frames in drawn} == set(candidates[segment].tolist())


def test_a_stopped_run_goes_on(samples, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stops(loader, **_):
        for position, item in enumerate(loader):
            if position == 2:
                raise Stopped
            yield item

    monkeypatch.setattr(frame_cache, "tqdm", stops)
    with pytest.raises(Stopped):
        write_frame_cache(samples, tmp_path, SETTINGS, workers=0)
    monkeypatch.undo()
    report = write_frame_cache(samples, tmp_path, SETTINGS, workers=0, progress=False)
    assert (report.added, report.present) == (1, 2)
    assert [numbers(item) for item in CachedFrames(tmp_path, samples)] == [middles(count, 4) for count in COUNTS]
    assert not list(tmp_path.glob("*.tmp"))


def test_several_shards_and_worker_processes(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_cache, "SHARD_VIDEOS", 2)
    write_frame_cache(samples, tmp_path, SETTINGS, workers=2, progress=False)
    assert len(list(tmp_path.glob("*.arrow"))) == 2
    loader = DataLoader(CachedFrames(tmp_path, samples), batch_size=None, num_workers=2)
    assert [numbers(item) for item in loader] == [middles(count, 4) for count in COUNTS]


def test_per_second_pads(samples, tmp_path):
    settings = CacheSettings(num_frames=4, candidates=1, size=32, sampling="per_second")
    write_frame_cache(samples, tmp_path, settings, workers=0, progress=False)
    frames, mask = CachedFrames(tmp_path, samples)[2]
    assert mask.tolist() == [1, 1, 0, 0]
    assert numbers((frames[:2], mask)) == [0, 25] and not frames[2:].any()


def test_squashed_pictures_are_kept_apart_from_cropped_ones(tmp_path):
    """SigLIP's pictures are whole and lose their shape; CLIP's keep it and lose their sides."""
    wide = write_video(tmp_path / "wide.mp4", 12, size=(96, 48))
    samples = [VideoSample("wide.mp4", str(wide), ("x",))]
    settings = CacheSettings(num_frames=4, candidates=1, size=32, squashed=True)
    write_frame_cache(samples, tmp_path / "cache", settings, workers=0, progress=False)
    square = {"height": 32, "width": 32}
    whole = DmaeVideoProcessor(num_frames=4, size=square, do_center_crop=False)
    config = TrainConfig(cache_frames=str(tmp_path / "cache"))
    frames = make_frames(samples, whole, config, progress=False)
    direct = whole(str(wide), do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values_videos"][0]
    assert frames[0][0].equal(direct)
    cropped = DmaeVideoProcessor(num_frames=4, size={"shortest_edge": 32}, crop_size=square)
    with pytest.raises(
        ConfigError, match=r"other settings \(squashed=True there, False here\): make one for this run"
    ):
        make_frames(samples, cropped, config, progress=False)


def test_a_bad_video_is_reported_and_tried_again(samples, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    several = [samples[0], VideoSample("broken.mp4", str(broken), ("x",)), samples[1]]
    report = write_frame_cache(several, tmp_path / "cache", SETTINGS, workers=0, progress=False)
    assert report.added == 2 and list(report.failed) == ["broken.mp4"]
    cached = CachedFrames(tmp_path / "cache", several)
    assert cached[1] is None and numbers(cached[2]) == middles(36, 4)
    broken.write_bytes(Path(samples[2].video).read_bytes())
    assert write_frame_cache(several, tmp_path / "cache", SETTINGS, workers=0, progress=False).added == 1


def level(cached, index) -> list[int]:
    return numbers(cached[index])[:1]


def of_one_number(path: Path, number: int) -> VideoSample:
    write_video(path, [numbered(number, 64, 64)] * 8, size=(64, 64))
    return VideoSample(path.name, str(path), ("x",))


def test_a_replaced_video_is_decoded_again(tmp_path):
    samples = [of_one_number(tmp_path / f"{n}.mp4", n) for n in (1, 2)]
    cache = tmp_path / "cache"
    write_frame_cache(samples, cache, SETTINGS, workers=0, progress=False)
    of_one_number(tmp_path / "1.mp4", 200)
    with pytest.raises(CorpusError, match="none of the 1 videos as they are now"):
        CachedFrames(cache, samples[:1])
    report = write_frame_cache(samples, cache, SETTINGS, workers=0, progress=False)
    assert (report.added, report.present) == (1, 1)
    cached = CachedFrames(cache, samples)
    assert level(cached, 0) == [200] and level(cached, 1) == [2]


def test_another_corpus_with_the_same_names_has_frames_of_its_own(tmp_path, caplog):
    corpora = []
    for folder, first in (("one", 1), ("two", 100)):
        (tmp_path / folder).mkdir()
        corpora.append([of_one_number(tmp_path / folder / f"{n}.mp4", first + n) for n in range(2)])
    cache = tmp_path / "cache"
    assert write_frame_cache(corpora[0], cache, SETTINGS, workers=0, progress=False).added == 2
    assert write_frame_cache(corpora[1][:1], cache, SETTINGS, workers=0, progress=False).added == 1
    cached = CachedFrames(cache, corpora[1])
    assert level(cached, 0) == [100] and cached[1] is None
    assert "1 of 2 videos are left out" in caplog.text and "1.mp4" in caplog.text
    assert write_frame_cache(corpora[1], cache, SETTINGS, workers=0, progress=False).added == 1
    assert [level(CachedFrames(cache, corpora[n]), 1) for n in range(2)] == [[2], [101]]


def test_another_part_of_a_video_is_another_video(samples, tmp_path):
    parts = [replace(samples[2], start=start, end=start + 0.8) for start in (0.0, 0.8)]
    for part, expected in zip(parts, (range(2, 20, 5), range(22, 40, 5))):
        assert write_frame_cache([part], tmp_path, SETTINGS, workers=0, progress=False).added == 1
        assert numbers(CachedFrames(tmp_path, [part])[0]) == list(expected)
    assert write_frame_cache(parts, tmp_path, SETTINGS, workers=0, progress=False).present == 2


def test_a_corpus_that_was_moved_or_copied_is_found_by_its_bytes(tmp_path):
    sample = of_one_number(tmp_path / "1.mp4", 9)
    cache = tmp_path / "cache"
    write_frame_cache([sample], cache, SETTINGS, workers=0, progress=False)
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "1.mp4"
    copy.write_bytes(Path(sample.video).read_bytes())
    for video in (str(copy), {"path": None, "bytes": copy.read_bytes()}):
        moved = replace(sample, video=video)
        assert level(CachedFrames(cache, [moved]), 0) == [9]
        assert write_frame_cache([moved], cache, SETTINGS, workers=0, progress=False).present == 1


def test_rows_of_a_dataset_are_found_again(tmp_path):
    sample = of_one_number(tmp_path / "1.mp4", 9)
    data = Path(sample.video).read_bytes()
    rows = Dataset.from_dict({"video": [{"path": "1.mp4", "bytes": data}]}).cast_column("video", Video(decode=False))
    row = replace(sample, video=RowVideo(rows, "video", 0, "1.mp4"))
    assert write_frame_cache([row], tmp_path / "cache", SETTINGS, workers=0, progress=False).added == 1
    assert write_frame_cache([row], tmp_path / "cache", SETTINGS, workers=0, progress=False).present == 1
    assert level(CachedFrames(tmp_path / "cache", [row]), 0) == [9]


def test_a_cache_of_an_older_version_is_not_believed(samples, tmp_path, caplog):
    write_frame_cache(samples, tmp_path, SETTINGS, workers=0, progress=False)
    (shard,) = tmp_path.glob("*.arrow")
    with pa.ipc.open_file(shard) as reader:
        table = reader.read_all()
    old = table.select(["video_id", "timestamps", "frames"])
    with pa.ipc.new_file(shard, old.schema) as writer:
        for batch in old.to_batches():
            writer.write_batch(batch)
    with pytest.raises(CorpusError, match="none of the 3 videos"):
        CachedFrames(tmp_path, samples)
    assert "older version" in caplog.text
    assert write_frame_cache(samples, tmp_path, SETTINGS, workers=0, progress=False).added == 3
    assert [numbers(item) for item in CachedFrames(tmp_path, samples)] == [middles(count, 4) for count in COUNTS]


def test_wrong_folders_are_told(samples, tmp_path):
    with pytest.raises(CorpusError, match="not a frame cache"):
        CachedFrames(tmp_path, samples)
    write_frame_cache(samples, tmp_path, SETTINGS, workers=0, progress=False)
    differing = r"other settings \(num_frames=4 there, 5 here, size=32 there, 224 here\): give the same, or choose"
    with pytest.raises(CorpusError, match=differing):
        write_frame_cache(samples, tmp_path, CacheSettings(num_frames=5), workers=0, progress=False)
    with pytest.raises(CorpusError, match="none of the 1 videos"):
        CachedFrames(tmp_path, [VideoSample("other", "other.mp4", ("x",))])
    (tmp_path / "frames-000000.arrow").write_bytes(b"ARROW1" + bytes(100))
    with pytest.raises(CorpusError, match="damaged"):
        CachedFrames(tmp_path, samples)


def test_command(samples, tmp_path, capsys):
    cache = str(tmp_path / "cache")
    source = str(shutil.copytree(Path(samples[0].video).parents[1], tmp_path / "corpus"))
    options = ["--num-frames", "4", "--candidates", "1", "--size", "32", "--workers", "1", "--json"]
    assert main(["frames", source, cache, *options]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 3
    assert main(["frames", source, cache, *options]) == 0
    assert json.loads(capsys.readouterr().out)["present"] == 3
    (Path(source) / "train" / f"{COUNTS[0]}.mp4").write_bytes(b"no video any more")
    assert main(["frames", source, cache, *options]) == 0
    assert list(json.loads(capsys.readouterr().out)["failed"]) == [f"{COUNTS[0]}.mp4"]
    assert main(["frames", source, cache, *options, "--strict"]) == 1
    capsys.readouterr()
    assert main(["frames", source, cache, "--num-frames", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_table_may_name_urls(samples, tmp_path, monkeypatch):
    with HubServer() as hub:
        api = hub.as_owner(monkeypatch, tmp_path / "home")
        api.create_repo("owner/clips", repo_type="dataset")
        for n, sample in enumerate(samples[:2]):
            api.upload_file(
                path_or_fileobj=sample.video, path_in_repo=f"{n}.mp4", repo_id="owner/clips", repo_type="dataset"
            )
        urls = [f"hf://datasets/owner/clips/{name}" for name in ("0.mp4", "1.mp4", "gone.mp4")]
        rows = [{"video": url, "captions": ["numbers"]} for url in urls]
        (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
        remote = load_samples(str(tmp_path), "train")
        for workers in (1, 0):
            report = write_frame_cache(remote, tmp_path / "cache", SETTINGS, workers=workers, progress=False)
            assert (report.added, report.present) == ((2, 0) if workers else (0, 2))
            assert list(report.failed) == urls[2:] and "no such file" in report.failed[urls[2]]
        write_frame_cache(samples[:2], tmp_path / "local", SETTINGS, workers=0, progress=False)
        cached, local = CachedFrames(tmp_path / "cache", remote[:2]), CachedFrames(tmp_path / "local", samples[:2])
        assert all(torch.equal(cached[n][0], local[n][0]) for n in range(2))
        api.upload_file(
            path_or_fileobj=samples[2].video, path_in_repo="0.mp4", repo_id="owner/clips", repo_type="dataset"
        )
        report = write_frame_cache(remote[:2], tmp_path / "cache", SETTINGS, workers=0, progress=False)
        assert (report.added, report.present) == (1, 1)
