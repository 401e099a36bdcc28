"""The fields of hits in memory: the same as in the table, and only as many bytes as they may take."""

import pyarrow as pa

from dmae.retrieval.search.resident import FieldStore


def rows(count: int, metadata: str | None, first: int = 0) -> pa.Table:
    columns = {
        "id": [f"v{n}" for n in range(first, first + count)],
        "path": [None if n % 2 else f"/clips/{n}.mp4" for n in range(first, first + count)],
        "duration": [float(n) for n in range(first, first + count)],
        "metadata": [metadata] * count,
        "pooled": [b"x" * 1000] * count,
    }
    return pa.table(columns)


def test_rows_of_many_batches_are_found_by_their_slot():
    store = FieldStore()
    store.append(rows(5, '{"a": 1}'))
    store.append(rows(3, None, 5).to_batches()[0])
    assert store.at([6, 0]) == [
        {"id": "v6", "path": "/clips/6.mp4", "duration": 6.0, "metadata": None},
        {"id": "v0", "path": "/clips/0.mp4", "duration": 0.0, "metadata": '{"a": 1}'},
    ]
    assert store.fits and 0 < store.nbytes < 8 * 200  # nothing of what was read beside them


def test_rich_metadata_stays_in_the_table():
    store = FieldStore()
    store.append(rows(5, "x" * 3000))
    store.append(rows(5, None, 5))
    assert not store.fits and store.nbytes == 0
