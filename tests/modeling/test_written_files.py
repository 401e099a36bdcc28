"""Weights have the mode of the files beside them, and a place that cannot be written is told before the work."""

import os
import stat

import pytest
from tiny import tiny_model

from dmae.modeling import InputError
from dmae.modeling.written_files import check_writable, follow_umask, writing


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_a_saved_model_follows_the_umask(tmp_path, umask):
    tiny_model().save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert modes(tmp_path / "model") == {0o666 & ~umask}


def test_shards_do_too_and_nothing_is_left(tmp_path, umask):
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).touch(mode=0o600)
    follow_umask(tmp_path)
    assert modes(tmp_path) == {0o666 & ~umask} and len(list(tmp_path.iterdir())) == 2
    follow_umask(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("path", "folder", "fault"),
    [
        ("nowhere/a.html", False, "there is no folder .*nowhere"),
        ("file/a.html", False, "file is a file"),
        (".", False, "it is a folder"),
        ("file", True, "file is a file"),
        ("file/deep/er", True, "file is a file"),
        ("new.html", False, None),
        ("file", False, None),
        ("a/new/folder", True, None),
        (".", True, None),
    ],
)
def test_a_place_that_cannot_be_written_is_told_with_its_option(tmp_path, path, folder, fault):
    (tmp_path / "file").touch()
    if fault is None:
        check_writable("--html", tmp_path / path, folder=folder)
    else:
        with pytest.raises(InputError, match=f"^--html {tmp_path}.* cannot be written: .*{fault}; .*another place$"):
            check_writable("--html", tmp_path / path, folder=folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_place_without_the_right_to_write_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # whoever runs the tests may write everywhere
    with pytest.raises(InputError, match="permission denied; put that right"):
        check_writable("--html", tmp_path / "a.html")


def test_a_disk_that_is_full_is_told_with_the_option_and_the_path(tmp_path):
    with (
        pytest.raises(InputError, match=r"^--html x\.html cannot be written: No space left on device; "),
        writing("--html", "x.html"),
    ):
        raise OSError(28, "No space left on device")
