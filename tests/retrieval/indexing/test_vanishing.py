"""What was not found is not gone: nothing is taken out of an index because a disk, a right or a link is missing."""

import os
import unicodedata
from pathlib import Path

import pytest
from training_parts import tiny_model
from video_files import write_video

from dmae.modeling import VideoDecodeError
from dmae.modeling.frame_loader import FrameLoader
from dmae.retrieval import VideoIndex
from dmae.retrieval import media as walking
from dmae.retrieval.indexing.corpus import make_plan
from dmae.retrieval.media import Unreached, find_videos, walk_videos


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def rows(*paths: Path, root: Path) -> list[dict]:
    """What an index of these files holds."""
    return [
        {
            "id": path.relative_to(root).as_posix(),
            "path": str(path),
            "content_hash": "",
            "file_size": path.stat().st_size,
            "modified": path.stat().st_mtime_ns,
        }
        for path in paths
    ]


@pytest.fixture
def clips(tmp_path):
    return touch(tmp_path / "clips", "a.mp4", "b.mp4", "trip/c.mp4", "trip/deep/d.mp4")


@pytest.fixture
def known(clips):
    return rows(*find_videos(clips), root=clips)


def forbid(monkeypatch, folder: Path, error: OSError) -> None:
    """Makes a folder one that cannot be looked into, nor anything in it: root itself may look into all others."""
    scandir, stat = os.scandir, os.stat

    def inside(path) -> bool:
        return str(path).startswith(f"{folder}{os.sep}")

    def refuse_scan(path):
        if str(path) == str(folder) or inside(path):
            raise error
        return scandir(path)

    def refuse_stat(path, *args, **options):
        if not isinstance(path, int) and inside(path):
            raise error
        return stat(path, *args, **options)

    monkeypatch.setattr(walking.os, "scandir", refuse_scan)
    monkeypatch.setattr(walking.os, "stat", refuse_stat)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")], ids=str
)
def test_nothing_under_a_folder_that_cannot_be_looked_into_is_gone(clips, known, monkeypatch, error):
    (clips / "b.mp4").unlink()
    forbid(monkeypatch, clips / "trip", error)
    plan = make_plan(clips, known)
    assert plan.vanished == ["b.mp4"] and plan.unseen == ["trip/c.mp4", "trip/deep/d.mp4"]
    assert plan.missing == [(str(clips / "trip"), error.strerror)]
    assert make_plan(clips, known, prune_empty=True).vanished == ["b.mp4"]


def test_a_place_without_any_video_keeps_its_rows_until_it_is_said(clips, known):
    for path in list(find_videos(clips)):
        path.unlink()
    plan = make_plan(clips, known)
    assert plan.vanished == [] and len(plan.unseen) == 4
    ((place, reason),) = plan.missing
    assert place == str(clips) and "4 in the index: is its disk there?" in reason and "--prune-empty" in reason
    assert len(make_plan(clips, known, prune_empty=True).vanished) == 4


def test_of_two_places_the_one_that_is_empty_keeps_its_rows(clips, known, tmp_path):
    other = touch(tmp_path / "other", "x.mp4", "y.mp4")
    known = known + rows(*find_videos(other), root=other)
    (clips / "a.mp4").unlink()
    for name in ("x.mp4", "y.mp4"):
        (other / name).unlink()
    plan = make_plan([clips, other], known)
    assert plan.vanished == ["a.mp4"] and plan.unseen == ["x.mp4", "y.mp4"]
    assert make_plan([clips, tmp_path / "gone"], known).vanished == ["a.mp4"]


def test_a_link_that_leads_nowhere_tells_nothing(clips, tmp_path):
    disk = touch(tmp_path / "disk", "e.mp4", "more/f.mp4")
    os.symlink(disk, clips / "disk")
    os.symlink(disk / "e.mp4", clips / "linked.mp4")
    os.symlink(tmp_path / "no such notes", clips / "notes")
    known = rows(*find_videos(clips), root=clips)
    assert {"disk/e.mp4", "disk/more/f.mp4", "linked.mp4"} < {row["id"] for row in known}
    disk.rename(tmp_path / "unmounted")
    plan = make_plan(clips, known)
    assert plan.vanished == [] and sorted(plan.unseen) == ["disk/e.mp4", "disk/more/f.mp4", "linked.mp4"]
    told = dict(plan.missing)
    assert set(told) == {str(clips / "disk"), str(clips / "linked.mp4")}
    assert told[str(clips / "disk")] == f"a link to {disk}, which is not there"


def test_linked_folders_are_gone_through_once_and_last(clips, tmp_path):
    elsewhere = touch(tmp_path / "elsewhere", "z.mp4")
    os.symlink(elsewhere, clips / "a link")
    os.symlink(elsewhere, clips / "trip" / "the same again")
    os.symlink(clips / "trip", clips / "0 trip")  # is found by its own name
    os.symlink(clips, clips / "trip" / "round")
    os.symlink(tmp_path, clips / "up")  # holds this folder: all of it would be gone through
    names = [path.relative_to(clips).as_posix() for path in find_videos(clips)]
    assert names == ["a.mp4", "b.mp4", "trip/c.mp4", "trip/deep/d.mp4", "a link/z.mp4"]
    os.symlink(clips, tmp_path / "clips again")
    assert len(list(find_videos(tmp_path / "clips again"))) == 5


def test_a_path_that_is_too_long_is_named(clips, known):
    here = os.getcwd()
    try:
        os.chdir(clips)
        for _ in range(22):  # 22 folders of 200 letters: more than the 4096 that a path may have
            os.mkdir("x" * 200)
            os.chdir("x" * 200)
        Path("f.mp4").touch()
    finally:
        os.chdir(here)
    *_, last = walk_videos(clips)
    assert isinstance(last, Unreached) and "too long" in last.reason
    plan = make_plan(clips, known)
    assert plan.unchanged == 4 and not plan.vanished and len(plan.missing) == 1


def test_what_a_system_keeps_at_the_top_of_a_disk_is_left_out(clips):
    touch(clips, "lost+found/x.mp4", "$RECYCLE.BIN/y.mp4", ".Trash/z.mp4")
    assert len(list(find_videos(clips))) == 4


class Flaky:
    """Reads as the frame loader does, but for troubles around the files."""

    def __init__(self, troubles: dict[str, VideoDecodeError]):
        self.troubles = troubles

    def __call__(self, sources, *args, **options):
        for item in FrameLoader(sources, *args, **options):
            trouble = self.troubles.get(os.path.basename(item.source))
            yield item if trouble is None else type(item)(item.index, item.source, None, trouble)


def test_only_verdicts_about_content_are_remembered(tmp_path, monkeypatch):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("killed", "forbidden", "fine"):
        write_video(clips / f"{name}.mp4", 6)
    (clips / "broken.mp4").write_bytes(b"no video" * 100)
    index = VideoIndex.create(tmp_path / "index", *tiny_model())
    troubles = {
        "killed.mp4": VideoDecodeError("killed.mp4", "the process that decoded it was killed", passing=True),
        "forbidden.mp4": VideoDecodeError("forbidden.mp4", "cannot be read as a video (Permission denied)", True),
    }
    monkeypatch.setattr("dmae.retrieval.indexing.encoding.FrameLoader", Flaky(troubles))
    report = index.add(clips, workers=0)
    assert (report.added, len(report.failed), report.not_retried) == (1, 3, 0)
    monkeypatch.undo()
    report = index.add(clips, workers=0)
    assert (report.added, [os.path.basename(path) for path, _ in report.failed]) == (2, ["broken.mp4"])
    assert report.not_retried == 1
    report = index.add(clips, workers=0, retry_failed=True)
    assert len(report.failed) == 1 and report.not_retried == 0


def test_troubles_around_a_file_are_told_from_those_in_it(tmp_path, monkeypatch):
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "empty.mp4").touch()
    film = write_video(tmp_path / "film.mp4", 6)
    sources = [str(tmp_path / name) for name in ("broken.mp4", "empty.mp4", "missing.mp4")]
    assert [item.error.passing for item in FrameLoader(sources, workers=0)] == [False, False, True]
    for error in (PermissionError(13, "Permission denied"), OSError(5, "Input/output error"), MemoryError()):

        def refuse(*args, error=error, **options):
            raise error

        monkeypatch.setattr("av.open", refuse)
        (item,) = FrameLoader([film], workers=0)
        assert item.error.passing and item.error.reason.startswith("cannot be read as a video")


def test_a_list_names_files_however_their_letters_are_written(tmp_path):
    name = "Größe/Café.mp4"
    touch(tmp_path, unicodedata.normalize("NFD", name))
    (tmp_path / "list.txt").write_text(unicodedata.normalize("NFC", name), encoding="utf-8")
    plan = make_plan(tmp_path / "list.txt", [])
    assert len(plan.new) == 1 and not plan.missing
    assert len(make_plan(tmp_path / unicodedata.normalize("NFC", "Größe"), []).new) == 1
