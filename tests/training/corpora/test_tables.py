"""Tables are read strictly: a row that is not clear is refused by its number, and names are found however written."""

import json
import logging
import unicodedata

import pytest

from dmae.training.corpora import CorpusError, load_samples

HEAD = "file_name,caption\n"


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.mp4").touch()
    return tmp_path


def captions(folder, table: str, name: str = "metadata.csv") -> list:
    (folder / name).write_text(table, encoding="utf-8")
    return [sample.captions for sample in load_samples(str(folder), "train")]


@pytest.mark.parametrize(
    "table, told",
    [
        (
            HEAD + "a.mp4,a dog runs, then a cat jumps\nb.mp4,two men talk\n",
            r"row 1 \(line 2\) has 3 values for 2 columns",
        ),
        (HEAD + "a.mp4,fine\nb.mp4,one, two, three\n", r"row 2 \(line 3\) has 4 values"),
        (HEAD + "a.mp4,fine\n\nb.mp4\n", r"row 2 \(line 4\) has 1 values for 2 columns"),
        (HEAD + 'a.mp4,"a tall dog\nb.mp4,two men talk\n', r"row 1 \(line 2\) cannot be read.*close its quotes"),
        (HEAD + 'a.mp4,fine\nb.mp4,"a 5" tall dog\n', r"row 2 \(line 3\) cannot be read.*double those"),
        (HEAD + 'a.mp4,"a tall dog\nb.mp4,"two men talk"\n', r"row 1 \(line 2\) cannot be read"),
        (HEAD + 'a.mp4,"a tall dog\nb.mp4,two men talk\nc.mp4,a cat"\n', r"row 1 \(line 2\) swallows rows"),
        (HEAD + 'a.mp4,"two\nlines"\nb.mp4,one, two\n', r"row 2 \(line 4\) has 3 values"),
        ("file_name,caption,caption\na.mp4,one,two\n", "column 'caption' twice"),
        ("file_name,file_name,caption\na.mp4,b.mp4,two\n", "column 'file_name' twice"),
        ("\nfile_name;caption\na.mp4;one\n", "no column with a video.*file_name;caption"),
    ],
)
def test_a_row_that_is_not_clear_is_refused(folder, table, told):
    with pytest.raises(CorpusError, match=told) as error:
        captions(folder, table)
    assert "metadata.csv" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "table, expected",
    [
        (HEAD + 'a.mp4,"a dog runs, then a cat jumps"\n', [("a dog runs, then a cat jumps",)]),
        (HEAD + 'a.mp4,"a 5"" tall dog"\n', [('a 5" tall dog',)]),
        (HEAD + 'a.mp4,a 5" tall dog\n', [('a 5" tall dog',)]),
        (HEAD + 'a.mp4,"two\nlines, of them"\nb.mp4,x\n', [("two\nlines, of them",), ("x",)]),
        (HEAD + 'a.mp4,"[""one, two"", ""three""]"\n', [("one, two", "three")]),
        ("\ufeff" + HEAD + "a.mp4,one\r\n\r\nb.mp4,two", [("one",), ("two",)]),
        ("file_name,caption,,\na.mp4,one,,\nb.mp4,two,,,\n", [("one",), ("two",)]),  # as spreadsheets pad
    ],
)
def test_a_clear_table_is_read(folder, table, expected):
    assert captions(folder, table) == expected


def test_a_name_that_json_gives_twice_is_refused(folder):
    line = '{"video": "a.mp4", "caption": "one", "caption": "two"}\n'
    with pytest.raises(CorpusError, match=r"captions\.jsonl, line 2 .*'caption' is there twice"):
        captions(folder, json.dumps({"video": "b.mp4", "caption": "x"}) + "\n" + line, "captions.jsonl")


@pytest.mark.parametrize("on_disk, in_table", [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_are_the_same_however_their_letters_are_written(tmp_path, on_disk, in_table, caplog):
    name = "über/Café ñ 한국.mp4"
    path = tmp_path / unicodedata.normalize(on_disk, name)
    path.parent.mkdir()
    path.touch()
    (tmp_path / "a.mp4").touch()
    with caplog.at_level(logging.WARNING):
        table = HEAD + f"{unicodedata.normalize(in_table, name)},one\na.mp4,two\n"
        (tmp_path / "metadata.csv").write_text(table, encoding="utf-8")
        samples = load_samples(str(tmp_path), "train")
    assert [sample.video for sample in samples] == [str(path), str(tmp_path / "a.mp4")]
    assert not caplog.records


def test_two_files_whose_names_read_the_same_are_told_apart(tmp_path):
    names = [unicodedata.normalize(form, "é.mp4") for form in ("NFC", "NFD")]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "metadata.csv").write_text(HEAD + "".join(f"{name},{number}\n" for number, name in enumerate(names)))
    assert [sample.video for sample in load_samples(str(tmp_path), "train")] == [str(tmp_path / n) for n in names]


def test_benchmarks_are_read_as_strictly(tmp_path):
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text(
        "key,vid_key,video_id,sentence\nret0,msr1,video1,a man, a plan\n", encoding="utf-8"
    )
    with pytest.raises(CorpusError, match=r"row 1 \(line 2\) has 5 values for 4 columns"):
        load_samples("msrvtt", "test", videos=str(tmp_path), annotations=str(tmp_path))
