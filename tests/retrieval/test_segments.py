"""Rows of segments, and indexes of the format before them: a video comes, changes and goes as a whole."""

import threading
from pathlib import Path

import pytest
import torch
from embeddings import videos

from dmae.retrieval import VideoIndex, VideoIndexError
from dmae.retrieval.storage.journal import Journal, JournalTakenError, drop_journals
from dmae.retrieval.storage.migration import migrate
from dmae.retrieval.storage.rows import make_rows
from dmae.retrieval.storage.schema import IndexSettings
from dmae.retrieval.storage.table import VideoTable

DIM = 32


def segments(video: str, count: int, seed: int = 0, **options):
    """Arguments of `add_embeddings`: a video of `count` segments of 4 s."""
    embeds, mask = videos(count, frames=4, dim=DIM, seed=seed)
    spans = [(4.0 * n, 4.0 * n + 4) for n in range(count)]
    times = torch.tensor([[start + 0.5 + n for n in range(4)] for start, _ in spans])
    return {
        "ids": [video] * count,
        "frame_embeds": embeds,
        "frame_mask": mask,
        "frame_times": times,
        "segments": spans,
        "metadata": [{"duration": 4.0 * count, "kind": video[0]}] * count,
        **options,
    }


@pytest.fixture
def index(tmp_path):
    index = VideoIndex.create(tmp_path / "index", dim=DIM)
    index.add_embeddings(**segments("film", 5))
    index.add_embeddings(**segments("clip", 1, seed=1))
    return index


def rows_of(index, video):
    return index.table.scan(["segment_number", "segment_start", "segment_end"], f"id = '{video}'").to_pylist()


def test_lengths_and_deletions_are_of_videos(index):
    assert (len(index), index.table.num_segments()) == (2, 6)
    assert sorted(row["segment_number"] for row in rows_of(index, "film")) == [0, 1, 2, 3, 4]
    assert index.stats()["videos"] == 2 and index.stats()["segments"] == 6
    assert index.delete(["film", "nothing"]) == 1
    assert (len(index), index.table.num_segments()) == (1, 1)


def test_a_video_is_replaced_whole_in_one_commit(index):
    version = index.table.version
    index.add_embeddings(**segments("film", 2, seed=3))
    assert index.table.version == version + 1
    assert (len(index), len(rows_of(index, "film"))) == (2, 2)
    index.add_embeddings(**segments("film", 7, seed=4))
    assert (len(index), len(rows_of(index, "film"))) == (2, 7)


def test_videos_swap_their_names_in_one_commit(index):
    version, before = index.table.version, {video: rows_of(index, video) for video in ("film", "clip")}
    moves = {old: {"id": new, "content_hash": None, "path": new} for old, new in (("film", "clip"), ("clip", "film"))}
    index.table.rename(moves)
    assert index.table.version == version + 1 and len(index) == 2
    assert [len(rows_of(index, video)) for video in ("film", "clip")] == [1, 5]
    spans = [{(row["segment_start"], row["segment_end"]) for row in rows} for rows in before.values()]
    assert {(row["segment_start"], row["segment_end"]) for row in rows_of(index, "clip")} == spans[0]
    assert index.get("clip", ["path", "segment_key", "metadata"])["path"] == "clip"
    index.add_embeddings(**segments("clip", 2, seed=3))  # its rows are found by their keys
    assert len(rows_of(index, "clip")) == 2


def test_a_name_that_is_taken_away_is_of_no_other_video_then(index):
    index.table.rename({"clip": {"id": "film", "content_hash": None}})
    assert (len(index), len(rows_of(index, "film")), rows_of(index, "clip")) == (1, 1, [])


def test_a_video_of_another_content_is_not_renamed(index):
    version = index.table.version
    moves = {"film": {"id": "clip", "content_hash": "x"}, "gone": {"id": "film", "content_hash": None}}
    index.table.rename(moves)
    assert index.table.version == version and len(rows_of(index, "film")) == 5


def test_two_writers_of_one_video_leave_one_whole_version_of_it(index):
    def write(count):
        for _ in range(4):
            other = VideoIndex.open(index.uri)
            other.add_embeddings(**segments("film", count, seed=count))

    threads = [threading.Thread(target=write, args=(count,)) for count in (2, 3, 6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    numbers = sorted(row["segment_number"] for row in rows_of(index, "film"))
    assert numbers in ([0, 1], [0, 1, 2], list(range(6)))


def test_segments_that_make_no_sense_are_refused(index):
    for spans, message in (
        ([(0, 1), (3, 2)], "from 3 to 2 s"),
        ([(5, 6), (1, 2)], "nor start before"),
        ([(0, 1)], "1 entries for 2 ids"),
        ([(0, 1), (1, float("nan"))], "from 1 to nan"),
    ):
        with pytest.raises(VideoIndexError, match=message):
            index.add_embeddings(**segments("film", 2, segments=spans))
    with pytest.raises(VideoIndexError, match="duplicate id 'film'"):
        index.add_embeddings(**segments("film", 2, segments=None))
    assert len(rows_of(index, "film")) == 5


@pytest.mark.parametrize("rate", [0, -1, float("nan"), 1000, "often", True])
def test_a_rate_that_makes_no_sense_is_refused(tmp_path, rate):
    with pytest.raises(VideoIndexError, match="frames_per_second must be above 0 and at most 60"):
        VideoIndex.create(tmp_path / "index", dim=DIM, frames_per_second=rate)
    assert not (tmp_path / "index").exists()


# --- format 1


@pytest.fixture
def old(tmp_path):
    """The place of an index of format 1 with two videos."""
    table = VideoTable.create(tmp_path / "old", IndexSettings(DIM, format=1))
    embeds, _ = videos(2, frames=4, dim=DIM)
    metadata = [{"duration": 4.0, "kind": "a"}, {"duration": 400.0, "kind": "b"}]
    table.write(make_rows(table.settings, ["short", "long"], embeds, None, metadata=metadata))
    return tmp_path / "old"


def hits(index):
    embeds, _ = videos(2, frames=4, dim=DIM)
    query = embeds[:, 0], embeds[:, :2], torch.ones(2, 2)
    return [
        [(hit.id, round(hit.score, 5), hit.metadata["kind"]) for hit in found]
        for found in index.search_embeddings(*query)
    ]


def test_an_old_index_is_read_and_written_as_it_is(old):
    index = VideoIndex.open(old)
    assert index.table.settings.format == 1 and len(index) == 2
    embeds, _ = videos(2, frames=4, dim=DIM)
    index.add_embeddings(["short", "new"], embeds, metadata=[{"kind": "c"}, {"kind": "d"}])
    assert len(index) == 3 and index.delete("new") == 1
    index.table.update([{"id": "long", "path": "elsewhere"}])
    assert VideoIndex.open(old).get("long", ["path", "kind"]) == {"path": "elsewhere", "kind": "b", "_rowid": 1}
    with pytest.raises(VideoIndexError, match="dmae migrate"):
        index.add_embeddings(**segments("film", 2))


def test_videos_of_an_old_index_swap_their_names(old):
    index = VideoIndex.open(old)
    before = {i: index.get(i, ["frames", "duration"]) for i in ("long", "short")}
    index.table.rename({a: {"id": b, "content_hash": None} for a, b in (("long", "short"), ("short", "long"))})
    assert len(index) == 2
    for a, b in (("long", "short"), ("short", "long")):
        assert [index.get(a, ["frames", "duration"])[name] for name in ("frames", "duration")] == [
            before[b][name] for name in ("frames", "duration")
        ]


def test_a_migrated_index_answers_as_before(old):
    index = VideoIndex.open(old)
    before = hits(index)
    assert migrate(index.table, frames_per_second=1.0, segment_frames=4) == 1
    for again in (index, VideoIndex.open(old)):
        assert again.table.settings.format == 2 and len(again) == 2
        assert hits(again) == before
    again.add_embeddings(**segments("film", 3))
    assert (len(again), again.table.num_segments()) == (3, 5)
    with pytest.raises(VideoIndexError, match="format 2 already"):
        migrate(again.table)


def test_what_is_written_during_a_migration_is_not_lost(old, monkeypatch):
    index, other = VideoIndex.open(old), VideoIndex.open(old)
    embeds, _ = videos(1, frames=4, dim=DIM, seed=9)
    create, calls = type(index.table.database).create_table, []

    def late(self, *args, **options):
        if not calls:
            calls.append(1)
            other.add_embeddings(["late"], embeds)
        return create(self, *args, **options)

    monkeypatch.setattr(type(index.table.database), "create_table", late)
    migrate(index.table)
    assert len(index) == 3 and VideoIndex.open(old).table.settings.format == 2


def test_a_migration_that_is_stopped_leaves_the_old_index(old):
    index = VideoIndex.open(old)

    def stop(rows):
        if rows.num_rows:
            raise KeyboardInterrupt
        return rows

    with pytest.raises((KeyboardInterrupt, VideoIndexError)):
        index.table.migrate(IndexSettings(DIM), stop)
    assert VideoIndex.open(old).table.settings.format == 1 and len(VideoIndex.open(old)) == 2


def test_a_users_column_in_the_way_is_told(tmp_path):
    table = VideoTable.create(tmp_path / "old", IndexSettings(DIM, format=1))
    embeds, _ = videos(1, frames=4, dim=DIM)
    table.write(make_rows(table.settings, ["a"], embeds, None, metadata=[{"segment_start": 3}]))
    with pytest.raises(VideoIndexError, match="'segment_start' has the name of a column"):
        migrate(table)


# --- journals


def journal_rows(index, count, first=0, seed=0):
    given = segments("film", first + count, seed=seed)
    chosen = {name: value[first:] for name, value in given.items() if name != "metadata"}
    return make_rows(index.table.settings, first_number=first, **chosen)


def test_a_journal_is_continued_and_moved_at_once(index):
    journal = Journal(index.table, "film", "as it is")
    assert (journal.segments, journal.covered) == (0, None)
    journal.append(journal_rows(index, 3, seed=5))
    assert len(rows_of(index, "film")) == 5
    journal = Journal(VideoTable.open(index.uri), "film", "as it is")
    assert (journal.segments, journal.covered) == (3, 12.0)
    journal.append(journal_rows(index, 4, first=3, seed=5))
    version = index.table.version
    journal.move(lambda rows: rows)
    assert index.table.version == version + 1
    assert sorted(row["segment_number"] for row in rows_of(index, "film")) == list(range(7))
    assert Journal(index.table, "film", "as it is").segments == 0


def test_a_journal_of_a_new_video_is_moved_at_once(index):
    index.delete("film")
    journal = Journal(index.table, "film", "as it is")
    for first in (0, 3):
        journal.append(journal_rows(index, 3, first=first))
    version = index.table.version
    journal.move(lambda rows: rows)
    assert index.table.version == version + 1 and len(index) == 2
    assert sorted(row["segment_number"] for row in rows_of(index, "film")) == list(range(6))


@pytest.mark.parametrize("seed", range(3))  # which of the two goes is left to chance
def test_of_two_processes_that_insert_a_video_at_once_one_whole_version_stays(index, monkeypatch, seed):
    index.delete("film")
    mine, theirs = (VideoTable.open(index.uri) for _ in range(2))
    videos = VideoTable.videos

    def too_early(table, columns, ids=None):
        found = videos(table, columns, ids)
        if table is mine:
            theirs.insert("film", lambda: iter([journal_rows(index, 2)]))
        return found

    monkeypatch.setattr(VideoTable, "videos", too_early)
    mine.insert("film", lambda: iter([journal_rows(index, 3), journal_rows(index, 2, first=3)]))
    monkeypatch.undo()
    numbers = sorted(row["segment_number"] for row in rows_of(index, "film"))
    assert numbers in ([0, 1], list(range(5))) and len(index) == 2


@pytest.mark.parametrize("part", ["_versions", "data"])
def test_a_journal_whose_process_was_killed_at_its_beginning_or_end_is_begun_anew(index, part):
    journal = Journal(index.table, "film", "as it is")
    journal.append(journal_rows(index, 3))
    folder = next(Path(index.uri).glob("journal_*"))
    for file in (folder / part).iterdir():
        file.unlink()
    again = Journal(VideoTable.open(index.uri), "film", "as it is")
    assert again.segments == 0
    again.append(journal_rows(index, 2, seed=5))
    again.move(lambda rows: rows)
    assert len(rows_of(index, "film")) == 2
    (folder / part).mkdir(parents=True, exist_ok=True)
    drop_journals(index.table, ["film"])


def test_a_journal_of_another_file_is_begun_anew(index):
    Journal(index.table, "film", "before").append(journal_rows(index, 3))
    assert Journal(index.table, "film", "after").segments == 0
    drop_journals(index.table, ["film", "never there"])
    assert len(index) == 2


def test_of_two_processes_with_one_journal_the_later_gives_up(index):
    first = Journal(index.table, "film", "as it is")
    first.append(journal_rows(index, 3))
    second = Journal(VideoTable.open(index.uri), "film", "as it is")
    first.append(journal_rows(index, 2, first=3))
    for late in (lambda: second.append(journal_rows(index, 2, first=3)), lambda: second.move(lambda rows: rows)):
        with pytest.raises(JournalTakenError, match="another process encodes 'film'"):
            late()
    first.move(lambda rows: rows)
    assert len(rows_of(index, "film")) == 5
    with pytest.raises(JournalTakenError):
        second.append(journal_rows(index, 2, first=3))


def test_of_what_two_processes_wrote_at_once_the_sound_part_is_gone_on_with(index):
    journal = Journal(index.table, "film", "as it is")
    journal.append(journal_rows(index, 3))
    for _ in range(2):
        journal._table.add(journal_rows(index, 2, first=3).cast(journal._table.schema))
    with pytest.raises(JournalTakenError):
        journal.append(journal_rows(index, 2, first=5))
    again = Journal(VideoTable.open(index.uri), "film", "as it is")
    assert (again.segments, again.covered) == (3, 12.0)
    again.append(journal_rows(index, 3, first=3))
    again.move(lambda rows: rows)
    assert sorted(row["segment_number"] for row in rows_of(index, "film")) == list(range(6))
