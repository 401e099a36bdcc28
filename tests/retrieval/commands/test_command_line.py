"""The `dmae` command: what a person and a program see, and how it fails."""

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from training_parts import tiny_model
from video_files import write_video

from dmae import cli
from dmae.retrieval import VideoIndex
from dmae.retrieval.sharing.html_report import html_report


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint, three videos (one broken) and their index, made by the command itself."""
    folder = tmp_path_factory.mktemp("place")
    for part in tiny_model():
        part.save_pretrained(folder / "model")
    (folder / "videos").mkdir()
    for name in ("a", "<b>"):
        write_video(folder / "videos" / f"{name}.mp4", 8)
    (folder / "videos" / "bad.mp4").write_bytes(b"bad")
    names = {"model": str(folder / "model"), "index": str(folder / "index"), "videos": str(folder / "videos")}
    assert cli.main(["index", names["videos"], "--model", names["model"], "--index", names["index"]]) == 0
    return SimpleNamespace(folder=folder, **names)


def run(capsys, *argv):
    """Exit status, standard output and standard error of one command."""
    try:
        status = cli.main([str(word) for word in argv])
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def test_indexing_reports_what_it_did(place, capsys):
    arguments = ("index", place.videos, "--model", place.model, "--index", place.index)
    status, out, err = run(capsys, *arguments)
    assert status == 0 and "2 videos" in out and "2 unchanged" in out and "bad.mp4" in err
    assert "1 of them failed before and were not tried again (--retry-failed)" in err
    assert run(capsys, *arguments, "--strict")[0] == 1
    status, out, _ = run(capsys, *arguments, "--json")
    report = json.loads(out)
    assert report["unchanged"] == 2 and report["videos"] == 2 and len(report["failed"]) == 1


def test_searching_prints_a_table_or_json(place, capsys):
    arguments = ("search", "a red square", "--model", place.model, "--index", place.index, "-k", 5)
    status, out, _ = run(capsys, *arguments)
    assert status == 0 and "best moment" in out and "00:0" in out
    status, out, _ = run(capsys, *arguments, "--json", "--thumbnails", place.folder / "thumbs")
    hits = json.loads(out)
    assert [h["score"] for h in hits] == sorted((h["score"] for h in hits), reverse=True) and len(hits) == 2
    assert {h["id"] for h in hits} == {"a.mp4", "<b>.mp4"} and hits[0]["best_time"] in hits[0]["frame_times"]
    assert all(Path(h["thumbnail"]).read_bytes().startswith(b"\xff\xd8") for h in hits)
    assert json.loads(run(capsys, *arguments, "--json", "--where", "duration > 1000")[1]) == []
    picture = place.folder / "thumbs" / Path(hits[0]["thumbnail"]).name
    parts = ("--or", "a star", "--and", "a ring", "--like", picture, "--without", "people", "--without", "a car")
    status, out, _ = run(capsys, *arguments, "--json", *parts)
    assert status == 0 and [h["score"] for h in json.loads(out)] != [h["score"] for h in hits]


def test_the_html_page_stands_alone_and_escapes_names(place, capsys):
    page = place.folder / "out.html"
    query = "<script>alert(1)</script>"
    status, _, _ = run(capsys, "search", query, "--model", place.model, "--index", place.index, "--html", page)
    text = page.read_text()
    assert status == 0 and text.count("data:image/jpeg;base64,") == 2 and text.count("<svg") == 2
    assert "<script" not in text and "&lt;b&gt;.mp4" in text and "http" not in text
    assert html_report("nothing", [], {}).count("<li>") == 0


def test_stats_export_and_delete(place, capsys, tmp_path):
    _, out, _ = run(capsys, "stats", "--index", place.index, "--json")
    assert json.loads(out)["videos"] == 2 and json.loads(out)["stage_one"].startswith("exact")
    assert "videos           2" in run(capsys, "stats", "--index", place.index)[1]
    status, _, _ = run(capsys, "export", tmp_path / "x.parquet", "--index", place.index, "--where", "id = 'a.mp4'")
    assert status == 0 and pq.read_table(tmp_path / "x.parquet")["id"].to_pylist() == ["a.mp4"]
    copy = VideoIndex.create(tmp_path / "copy", dim=2)
    copy.add_embeddings(["x", "y"], [[[1.0, 0.0]], [[0.0, 1.0]]])
    status, out, err = run(capsys, "delete", "x", "nope", "--index", tmp_path / "copy")
    assert status == 1 and "1 deleted, 1 left" in out and "not in the index: nope (" in err


@pytest.mark.parametrize(
    "argv",
    [
        ("search", "x", "--model", "MODEL", "--index", "/nowhere"),
        ("search", "", "--model", "MODEL", "--index", "INDEX"),
        ("search", "x", "--model", "MODEL", "--index", "INDEX", "-k", "0"),
        ("search", "x", "--model", "MODEL", "--index", "INDEX", "--where", "year >"),
        ("search", "x", "--model", "FOLDER", "--index", "INDEX"),
        ("search", "x", "--model", "MODEL", "--index", "INDEX", "--without", "x"),
        ("search", "x", "--model", "MODEL", "--index", "INDEX", "--like", "nothing.jpg"),
        ("search", "x", "--model", "MODEL", "--index", "INDEX", "--like", "VIDEOS"),
        ("search", "x", "--model", "MODEL", "--index", "INDEX", "--like", "a text"),
        ("search", "--model", "MODEL", "--index", "INDEX"),
        ("search", "x", "--index", "INDEX"),
        ("search", "x", "--model", "MODEL", "--index", "INDEX", "--html", "/nowhere/x.html"),
        ("search", "x", "--model", "MODEL", "--index", "INDEX", "--thumbnails", "MODEL/config.json/thumbs"),
        ("index", "/nowhere", "--model", "MODEL", "--index", "INDEX"),
        ("index", "/nowhere", "--model", "MODEL", "--index", "NEW"),
        ("search", "misspelt.mp4", "--model", "MODEL", "--index", "INDEX"),
        ("index", "VIDEOS", "--model", "MODEL", "--index", "INDEX", "--batch-size", "0"),
        ("export", "/nowhere/x.parquet", "--index", "INDEX"),
        ("stats", "--index", "VIDEOS"),
        ("delete", "x", "--index", "INDEX", "--storage-option", "no-equals"),
    ],
)
def test_a_users_error_is_one_line_and_exit_status_2(place, capsys, argv):
    names = {"MODEL": place.model, "INDEX": place.index, "VIDEOS": place.videos, "FOLDER": place.folder}
    names["NEW"] = str(place.folder / "new")
    status, out, err = run(capsys, *(names.get(word, word.replace("MODEL/", f"{place.model}/")) for word in argv))
    lines = [line for line in err.splitlines() if line.strip()]
    assert status == 2 and not out
    assert len(lines) == 1 and lines[0].startswith(f"dmae {argv[0]}: error: ")
    assert len(VideoIndex.open(place.index)) == 2 and not os.path.exists(names["NEW"])


@pytest.mark.parametrize("option", ["or", "and", "like", "without"])
def test_an_empty_part_is_called_by_its_option(place, capsys, option):
    argv = ("search", "x", "--model", place.model, "--index", place.index, f"--{option}", " ")
    assert run(capsys, *argv)[2].startswith(f"dmae search: error: --{option} is empty")


@pytest.mark.parametrize("option", ["--html", "--thumbnails"])
def test_a_place_that_cannot_be_written_is_told_before_a_model_is_loaded(place, capsys, option):
    wrong = Path(place.model, "config.json", "x")
    status, _, err = run(capsys, "search", "x", "--model", "/nowhere", "--index", place.index, option, wrong)
    assert status == 2 and f"{option} {wrong} cannot be written: " in err and "another place" in err


def test_every_command_has_help_with_an_example(capsys):
    status, out, _ = run(capsys, "--help")
    names = re.findall(r"^    (\S+)", out, re.MULTILINE)
    assert status == 0 and {"index", "search", "stats", "delete", "export"} <= set(names)
    for name in names:
        status, out, _ = run(capsys, name, "--help")
        assert status == 0 and f"example: dmae {name}" in out
    assert run(capsys)[0] == 2 and run(capsys, "nonsense")[0] == 2


def test_an_interrupt_ends_quietly(capsys, monkeypatch):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("dmae.retrieval.commands.stats.run", interrupted)
    status, _, err = run(capsys, "stats", "--index", "x")
    assert status == 130 and "Traceback" not in err
