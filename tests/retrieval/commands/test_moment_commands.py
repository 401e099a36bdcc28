"""Moments from the command line: a rate for a new index, spans printed, cut and listed, an old index migrated."""

import json

import numpy as np
import pytest
from training_parts import tiny_model
from video_files import write_video

from dmae.cli import main
from dmae.retrieval.storage.rows import make_rows
from dmae.retrieval.storage.schema import IndexSettings
from dmae.retrieval.storage.table import VideoTable


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, a film of five colours and its index."""
    folder = tmp_path_factory.mktemp("moments")
    for part in tiny_model(num_frames=4):
        part.save_pretrained(folder / "model")
    colours = np.random.default_rng(0).integers(0, 255, (5, 1, 1, 3))
    pictures = [np.broadcast_to(colours[n // 24], (64, 64, 3)).astype(np.uint8) for n in range(120)]
    (folder / "films").mkdir()
    write_video(folder / "films" / "film.mp4", pictures, rate=8, size=(64, 64), sound=True)
    made = ["index", str(folder / "films"), "--frames-per-second", "2", "--workers", "0"]
    assert main([*made, "--model", str(folder / "model"), "--index", str(folder / "films.index")]) == 0
    return folder


def search(place, *options):
    index = ["--index", str(place / "films.index"), "--model", str(place / "model")]
    return main(["search", "a red square", *index, *options])


def test_a_hit_has_its_span_and_can_be_cut_and_listed(place, capsys, tmp_path):
    listed = ["--cut", str(tmp_path / "clips"), "--timeline", str(tmp_path / "found.csv"), "--json"]
    assert search(place, *listed) == 0
    hits = json.loads(capsys.readouterr().out)
    assert [hit["id"] for hit in hits] == ["film.mp4"]
    assert 0 <= hits[0]["start"] <= hits[0]["best_time"] <= hits[0]["end"] <= 15
    assert [str(path) for path in (tmp_path / "clips").iterdir()] == [hits[0]["clip"]]
    assert (tmp_path / "found.csv").read_text().count("\n") == 2
    assert search(place, "--every-span", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 1 + len(hits[0]["moments"])
    assert search(place) == 0
    assert "00:" in capsys.readouterr().out


def test_what_cannot_be_is_told_first(place, capsys, monkeypatch):
    def too_late(*args):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("dmae.retrieval.commands.search.load_model", too_late)
    assert search(place, "--timeline", "found.xml") == 2
    assert "a timeline ends in" in capsys.readouterr().err
    assert search(place, "--timeline", str(place / "nowhere" / "found.csv")) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert search(place, "--cut", str(place / "films" / "film.mp4")) == 2
    assert f"--cut {place / 'films' / 'film.mp4'} cannot be written" in capsys.readouterr().err
    for padding in ("-1", "nan", "inf"):
        assert search(place, "--cut", str(place / "clips"), "--padding", padding) == 2
        assert "--padding is in seconds" in capsys.readouterr().err
    assert not (place / "clips").exists()
    new = ["index", str(place / "films"), "--model", str(place / "model"), "--index", str(place / "new.index")]
    for options, message in (
        (["--ray", "127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1"),
        (["--ray", "--encoders", "0"], "encoders must be at least 1"),
        (["--encoders", "2"], "--encoders goes with --ray"),
    ):
        assert main([*new, *options]) == 2 and not (place / "new.index").exists()
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["index", "x", "--model", "m", "--index", "i", "--frames-per-second", "often"])


def test_an_old_index_is_migrated(tmp_path, capsys):
    table = VideoTable.create(tmp_path / "old", IndexSettings(8, format=1))
    frames = np.full((2, 3, 8), 8**-0.5, np.float32)
    table.write(make_rows(table.settings, ["a", "b"], frames, None, metadata=[{"duration": 5.0}, {"duration": 60.0}]))
    assert main(["migrate", "--index", str(tmp_path / "old"), "--frames-per-second", "1"]) == 0
    assert "2 videos in format 2" in (told := capsys.readouterr().out) and "1 of them" in told
    assert main(["migrate", "--index", str(tmp_path / "old")]) == 2
    assert "format 2 already" in capsys.readouterr().err
