"""An index split into tables: every video once, the same scores, and it follows the index."""

from collections import Counter

import pytest
from embeddings import texts, videos
from training_parts import tiny_model

from dmae.cli import main
from dmae.retrieval import VideoIndex, VideoIndexError
from dmae.retrieval.serving.fan_out import merge_hits
from dmae.retrieval.storage.sharding import share_of, split
from dmae.retrieval.storage.table import VideoTable

DIM = 16
COUNT = 60


@pytest.fixture
def index(tmp_path):
    frames, mask = videos(COUNT, frames=4, dim=DIM)
    index = VideoIndex.create(tmp_path / "index", dim=DIM)
    ids = [f"v{n}" for n in range(COUNT)]
    index.add_embeddings(ids, frames, mask, [{"year": 2000 + n, "path": f"/videos/{n}.mp4"} for n in range(COUNT)])
    return index


def search(uris, features, k):
    found = {uri: [hit.to_dict() for hit in VideoIndex.open(uri).search_embeddings(*features, k=k)[0]] for uri in uris}
    return merge_hits(found, k)


def test_shards_hold_every_video_once_and_find_what_the_index_finds(index, tmp_path, capsys):
    command = ["shard", str(tmp_path / "shards"), "--index", index.uri, "--shards", "3"]
    assert main(command) == 0
    assert "'shards=" + str(tmp_path / "shards") + "/*-of-3'" in capsys.readouterr().out
    uris = [f"{tmp_path}/shards/{n}-of-3" for n in range(3)]
    held = [VideoTable.open(uri).scan(["id"])["id"].to_pylist() for uri in uris]
    assert (
        sorted(video_id for ids in held for video_id in ids) == sorted(f"v{n}" for n in range(COUNT))
        and min(map(len, held)) > COUNT // 6
    )
    features = [part[:1] for part in texts(videos(COUNT, frames=4, dim=DIM)[0], 2)]
    whole = [hit.to_dict() for hit in index.search_embeddings(*features, k=10)[0]]
    merged = search(uris, features, 10)
    assert [hit["id"] for hit in merged] == [hit["id"] for hit in whole]
    assert [hit["score"] for hit in merged] == pytest.approx([hit["score"] for hit in whole], abs=1e-6)
    assert [hit["metadata"] for hit in merged] == [hit["metadata"] for hit in whole]


def test_shards_follow_the_index_and_copy_only_what_is_new(index, tmp_path):
    shards = split(index.table, tmp_path / "shards", 2)
    versions = [shard.version for shard in shards]
    assert [shard.version for shard in split(index.table, tmp_path / "shards", 2)] == versions
    frames, mask = videos(2, frames=4, dim=DIM, seed=9)
    index.add_embeddings(["v0", "new"], frames, mask)
    index.delete(["v1"])
    index.table.update([{"id": "v2", "path": "/moved/2.mp4"}])
    rows = [
        row for shard in split(index.table, tmp_path / "shards", 2) for row in shard.scan(["id", "path"]).to_pylist()
    ]
    assert len(rows) == COUNT and {"new", "v0"} <= {row["id"] for row in rows}
    assert "v1" not in {row["id"] for row in rows}
    assert next(row["path"] for row in rows if row["id"] == "v2") == "/moved/2.mp4"


def test_shards_of_another_index_are_refused(index, tmp_path):
    split(index.table, tmp_path / "shards", 2)
    with pytest.raises(VideoIndexError, match="of another index"):
        split(VideoIndex.create(tmp_path / "wide", dim=2 * DIM).table, tmp_path / "shards", 2)
    with pytest.raises(VideoIndexError, match="at least 1 shard"):
        split(index.table, tmp_path / "none", 0)
    first, second = (VideoIndex.create(tmp_path / f"m{seed}", *tiny_model(seed=seed)) for seed in (0, 1))
    split(first.table, tmp_path / "modelled", 2)
    with pytest.raises(VideoIndexError, match="was made with the model"):
        split(second.table, tmp_path / "modelled", 2)


def test_all_segments_of_a_video_are_in_one_shard(index, tmp_path):
    frames, mask = videos(3, frames=4, dim=DIM, seed=5)
    spans = [(0.0, 5.0), (5.0, 9.0), (9.0, 12.0)]
    index.add_embeddings(["long"] * 3, frames, mask, segments=spans)
    rows = lambda: [  # noqa: E731
        (n, row["segment_number"])
        for n, shard in enumerate(split(index.table, tmp_path / "shards", 3))
        for row in shard.scan(["segment_number"], "id = 'long'").to_pylist()
    ]
    assert len({n for n, _ in rows()}) == 1 and sorted(number for _, number in rows()) == [0, 1, 2]
    index.add_embeddings(["long"] * 2, frames[:2], mask[:2], segments=spans[:2])
    assert sorted(number for _, number in rows()) == [0, 1]


def test_names_that_differ_in_one_letter_are_shared_out():
    groups = [{share_of(f"{group}/{number}.mp4", 2) for number in range(8)} for group in range(100)]
    assert sum(len(shares) == 1 for shares in groups) < 10
    counts = Counter(share_of(f"{number:03d}.mp4", 8) for number in range(1000))
    assert min(counts.values()) > 90
