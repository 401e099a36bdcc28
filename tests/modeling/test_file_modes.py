"""Weights have the mode of the files beside them, whatever the umask."""

import os
import stat

import pytest
from tiny import tiny_model

from dmae.modeling.file_modes import follow_umask


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
