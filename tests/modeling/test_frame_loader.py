"""`FrameLoader` keeps the order, reads on past bad files and dead workers, and draws the same moments again."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from video_files import middles, read_numbers, write_video

from dmae.modeling.frame_loader import FrameLoader
from dmae.modeling.video_processing_dmae import DmaeVideoProcessor
from dmae.modeling.video_reading import read_frames

COUNTS = [20, 24, 28, 32, 36, 40]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [write_video(folder / f"{count}.mp4", count, options={"g": "10"}) for count in COUNTS]


@pytest.mark.parametrize("workers", [0, 2])
def test_order_and_frames(videos, workers):
    items = list(FrameLoader(videos, None, num_frames=5, workers=workers))
    assert [item.index for item in items] == list(range(6))
    assert [item.source for item in items] == videos
    for item, count, path in zip(items, COUNTS, videos):
        alone = read_frames(path, 5)
        assert item.error is None
        assert read_numbers(item.frames.frames) == middles(count, 5)
        assert (item.frames.frames == alone.frames).all() and (item.frames.timestamps == alone.timestamps).all()
        assert (item.frames.duration, item.frames.fps) == (alone.duration, alone.fps)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_items(videos, tmp_path, workers):
    text = tmp_path / "notes.mp4"
    text.write_text("no video at all")
    sources = [videos[0], text, tmp_path / "missing.mp4", b"", {"path": str(videos[1]), "bytes": None}, 7]
    items = list(FrameLoader(sources, workers=workers, num_frames=2))
    assert [item.frames is not None for item in items] == [True, False, False, False, True, False]
    assert [item.error is None for item in items] == [True, False, False, False, True, False]
    assert "notes.mp4" in str(items[1].error) and "missing.mp4: no such file" in str(items[2].error)
    assert all("\n" not in str(item.error) for item in items if item.error)


class Deadly(Sequence):
    """Paths of which one ends the process that asks for it, as a crash inside a decoder would."""

    def __init__(self, paths, deadly, own_process):
        self.paths, self.deadly, self.own_process = paths, deadly, own_process

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        if index == self.deadly and os.getpid() != self.own_process:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.paths[index]


def test_a_dead_worker_costs_one_item(videos):
    items = list(FrameLoader(Deadly(videos, 3, os.getpid()), num_frames=2, workers=2))
    assert [item.index for item in items] == list(range(6))
    assert [item.error is None for item in items] == [True, True, True, False, True, True]
    assert "32.mp4: the process that decoded it was killed" in str(items[3].error)


def test_windows_and_chosen_indices(videos):
    windows = [None, None, (0.4, 0.6), None, (None, 0.2), None]
    items = list(FrameLoader(videos, num_frames=1, windows=windows, indices=[4, 2], workers=2))
    assert [(item.index, read_numbers(item.frames.frames)) for item in items] == [(4, [2]), (2, [12])]


def test_random_segments_by_item_and_epoch(videos):
    loader = FrameLoader([videos[-1]] * 4, num_frames=4, sampling="random_segments", workers=2, seed=3)

    def numbers():
        return [tuple(read_numbers(item.frames.frames)) for item in loader]

    first = numbers()
    assert first == numbers()
    assert len(set(first)) > 1
    loader.set_epoch(1)
    assert numbers() != first


def test_frames_fit_the_processor(videos):
    processor = DmaeVideoProcessor(
        num_frames=3, size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, sampling="per_second"
    )
    (item,) = FrameLoader(videos[-1:], processor, workers=0)
    assert item.frames.frames.shape == (2, 32, 48, 3)
    direct, loaded = (processor(video, return_tensors="pt") for video in (videos[-1], item.frames))
    assert np.array_equal(direct["pixel_values_videos"], loaded["pixel_values_videos"])
    assert direct["frame_mask"].tolist() == loaded["frame_mask"].tolist() == [[1, 1, 0]]


def test_many_items_do_not_hold_files_open(videos):
    before = len(os.listdir("/proc/self/fd"))
    kept = list(FrameLoader(videos * 10, num_frames=2, workers=2))
    assert len(kept) == 60
    assert len(os.listdir("/proc/self/fd")) < before + 20


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("killed", [True, False])
def test_a_worker_whose_parent_was_killed_as_it_started_ends(method, killed, tmp_path):
    """The parent ends as a kill ends it, while the worker is on its way to where it begins."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, os, sys, time\n"
        "from dmae.modeling.frame_loader import end_with_parent\n"
        "def worker():\n"
        f"    time.sleep({1.0 if killed else 0.0})\n"
        "    end_with_parent(0)\n"
        "    os.write(1, b'begins')\n"
        "if __name__ == '__main__':\n"
        f"    multiprocessing.set_start_method({method!r})\n"
        "    process = multiprocessing.Process(target=worker)\n"
        "    process.start()\n" + ("    os.kill(os.getpid(), 9)\n" if killed else "    process.join()\n")
    )
    done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, timeout=120)
    assert done.stdout == (b"" if killed else b"begins")
