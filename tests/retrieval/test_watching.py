"""Following folders: what is whole is found, what is not never is, and nothing ends the watch but its stop."""

import os
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from training_parts import tiny_model
from video_files import write_video

from dmae.retrieval import VideoIndex, VideoIndexError, watching
from dmae.retrieval.indexing.whole_files import is_cut_off, is_open_for_writing
from dmae.retrieval.watching import FolderWatch

SETTLE = 0.3
SOON = 10.0  # seconds within which a whole file is found
FAST_START = {"movflags": "+faststart"}  # what tells the length comes first, so that half of it plays


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "video.mp4", muxing=FAST_START)


class Following:
    """A folder that is followed, and what was told of it."""

    def __init__(self, folder: Path, index: VideoIndex):
        self.folder, self.index = folder, index
        self.told: list[str] = []
        self.stop = threading.Event()
        self.watch = FolderWatch(index, [folder], lambda done: self.told.append(str(done)), settle=SETTLE, workers=1)
        self.thread = threading.Thread(target=self.watch.run, args=[self.stop], daemon=True)

    def ids(self) -> set[str]:
        return set(self.index.table.scan(["id"])["id"].to_pylist())

    def wait_for(self, *ids: str) -> None:
        deadline = time.monotonic() + SOON
        while self.ids() != set(ids):
            assert time.monotonic() < deadline, (self.ids(), self.told)
            time.sleep(0.05)

    def wait_to_hear(self, words: str) -> None:
        deadline = time.monotonic() + SOON
        while not any(words in line for line in self.told):
            assert time.monotonic() < deadline, self.told
            time.sleep(0.05)


@pytest.fixture
def following(tmp_path, model, monkeypatch):
    monkeypatch.setattr(watching, "TICK", 0.2)

    @contextmanager
    def follow(folder=tmp_path / "videos"):
        folder.mkdir(exist_ok=True)
        followed = Following(folder, VideoIndex.create(tmp_path / "index", *model))
        followed.thread.start()
        yield followed
        assert followed.thread.is_alive()  # nothing ended it
        followed.stop.set()
        followed.thread.join(SOON)
        assert not followed.thread.is_alive()

    return follow


def test_what_comes_changes_moves_and_goes_is_followed(following, video):
    with following() as followed:
        shutil.copy(video, followed.folder / "a.mp4")
        followed.wait_for("a.mp4")
        before = followed.index.table.scan(["content_hash"])["content_hash"].to_pylist()
        write_video(followed.folder / "a.mp4", 20)
        (followed.folder / "deep" / "er").mkdir(parents=True)
        shutil.copy(video, followed.folder / "deep" / "er" / "b.mp4")
        followed.wait_for("a.mp4", "deep/er/b.mp4")
        (followed.folder / "deep").rename(followed.folder / "other")
        followed.wait_for("a.mp4", "other/er/b.mp4")
        followed.wait_to_hear("moved deep/er/b.mp4 to other/er/b.mp4")
        encoded = [line.partition("moved")[0] for line in followed.told if line.startswith("indexed")]
        assert sum("b.mp4" in names for names in encoded) == 1  # known by its bytes, not encoded again
        hashes = followed.index.table.scan(["content_hash"], "id = 'a.mp4'")["content_hash"].to_pylist()
        assert hashes != before and len(hashes) == 1
        (followed.folder / "a.mp4").unlink()
        followed.wait_for("other/er/b.mp4")
        assert any("removed a.mp4" in line for line in followed.told)
    assert followed.index.search(video)[0].id == "other/er/b.mp4"


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "written.ts"])
def test_a_half_copied_file_is_never_found_and_a_whole_one_soon_is(following, tmp_path, name):
    whole = write_video(tmp_path / name, muxing=FAST_START if name.endswith("mp4") else None).read_bytes()
    with following() as followed:
        target = followed.folder / name
        file = target.open("wb")
        file.write(whole[: len(whole) // 2])
        file.flush()
        if name.startswith("cut"):  # its writer left: only its headers tell
            file.close()
        else:  # nothing in a transport stream tells, but somebody writes it
            assert is_open_for_writing(str(target))
        until = time.monotonic() + 6 * SETTLE
        while time.monotonic() < until:
            assert followed.ids() == set() and followed.told == []
            time.sleep(0.05)
        with target.open("ab") as rest:
            rest.write(whole[len(whole) // 2 :])
        file.close()
        followed.wait_for(name)
        assert followed.told == [f"indexed {name}: 1 videos"]


def test_a_file_that_cannot_be_read_is_told_once_and_the_others_are_found(following, video):
    with following() as followed:
        (followed.folder / "broken.mp4").write_bytes(b"no video at all" * 100)
        shutil.copy(video, followed.folder / "a.mp4")
        followed.wait_for("a.mp4")
        shutil.copy(video, followed.folder / "b.mp4")
        followed.wait_for("a.mp4", "b.mp4")
        assert sum("broken.mp4" in line for line in followed.told) == 1
        shutil.copy(video, followed.folder / "broken.mp4")
        followed.wait_for("a.mp4", "b.mp4", "broken.mp4")


def test_a_folder_that_vanishes_and_returns_loses_nothing(following, video):
    with following() as followed:
        shutil.copy(video, followed.folder / "a.mp4")
        followed.wait_for("a.mp4")
        followed.folder.rename(followed.folder.with_name("unplugged"))
        followed.wait_to_hear("is not there: waiting for it")
        assert followed.ids() == {"a.mp4"}
        shutil.copy(video, followed.folder.with_name("unplugged") / "b.mp4")
        followed.folder.with_name("unplugged").rename(followed.folder)
        followed.wait_for("a.mp4", "b.mp4")
        (followed.folder / "a.mp4").unlink()
        followed.wait_for("b.mp4")


def test_an_index_inside_its_own_folder_is_not_followed(tmp_path, model, video, monkeypatch):
    shutil.copy(video, tmp_path / "a.mp4")
    index = VideoIndex.create(tmp_path / "index", *model)
    followed = Following(tmp_path, index)
    rounds = []
    monkeypatch.setattr(
        followed.watch,
        "_catch_up",
        lambda folders, real=followed.watch._catch_up: rounds.append(folders) or real(folders),
    )
    followed.thread.start()
    followed.wait_for("a.mp4")
    time.sleep(3)
    followed.stop.set()
    followed.thread.join(SOON)
    assert len(rounds) <= 3


def test_a_place_that_cannot_be_followed_is_told_before_anything_is_done(tmp_path, model, video):
    index = VideoIndex.create(tmp_path / "index", *model)
    for folder in (tmp_path / "nowhere", video):
        with pytest.raises(VideoIndexError, match=folder.name):
            FolderWatch(index, [folder], print)
    with pytest.raises(VideoIndexError, match="settle"):
        FolderWatch(index, [tmp_path], print, settle=-1)


def test_what_a_file_says_of_its_own_length(tmp_path, video):
    for name in ("a.mp4", "a.mov", "a.mkv", "a.avi", "a.webm"):
        codec = {"a.avi": "mpeg4", "a.webm": "libvpx"}.get(name, "libx264")
        path = write_video(tmp_path / name, codec=codec)
        whole = path.read_bytes()
        assert not is_cut_off(str(path)), name
        for part in (0.3, 0.5, 0.99):
            path.write_bytes(whole[: int(part * len(whole))])
            assert is_cut_off(str(path)), (name, part)
    other = tmp_path / "other.mp4"
    for content in (b"", b"\0", b"no box at all" * 9, b"\0\0\0\x08mdat" + b"\0" * 99, b"\x1a\x45\xdf\xa3", b"RIFF"):
        other.write_bytes(content)
        assert not is_cut_off(str(other)), content
    assert not is_open_for_writing(str(tmp_path / "nowhere.mp4"))
    assert not is_open_for_writing(os.devnull)
