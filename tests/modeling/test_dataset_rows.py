"""Videos in the rows of a dataset: named and measured without being read."""

from datasets import Dataset, Features, Value, Video

from dmae.modeling.dataset_rows import RowVideo, names_and_sizes

ROWS = [{"path": "a.mp4", "bytes": b"123"}, {"path": "b.mp4", "bytes": None}, {"path": None, "bytes": b"12345"}]


def test_names_and_sizes_are_those_of_the_rows_that_were_chosen():
    rows = Dataset.from_dict({"video": ROWS}).cast(Features({"video": Video(decode=False)}))
    assert names_and_sizes(rows, "video") == (["a.mp4", "b.mp4", None], [3, None, 5])
    chosen = rows.select([2, 0])
    assert names_and_sizes(chosen, "video") == ([None, "a.mp4"], [5, 3])
    names, sizes = names_and_sizes(chosen, "video")
    assert [len(RowVideo(chosen, "video", n, name)["bytes"]) for n, name in enumerate(names)] == sizes


def test_rows_that_only_name_their_videos_have_no_sizes():
    rows = Dataset.from_dict({"video": ["a.mp4", "b.mp4"]}, Features({"video": Value("string")}))
    assert names_and_sizes(rows.select([1]), "video") == (["b.mp4"], [None])
