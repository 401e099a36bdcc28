"""Other engines on the vectors of benchmarks/search.py: their latency and, where they rank by DMAE in the end, their
overlap.

FAISS: HNSW on the pooled vectors, then our exact score on its candidates and the hits' fields. LanceDB's multivector
search and Qdrant's local mode rank by their own late interaction (the sum over query tokens of the best frame),
without an index: what they do out of the box.
"""

import time
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from dmae.modeling.features import TextFeatures
from dmae.retrieval.search.scoring import ScoreOptions, score_each
from dmae.retrieval.search.stages import query_vectors
from dmae.retrieval.storage.rows import pool_frames

SLOW_QUERIES = 3


def measure(folder, corpus, queries, truth: torch.Tensor, ours: float, index) -> None:
    """Prints a line for each engine that is installed; `ours` is our p50 in seconds."""
    for name, engine in {
        "FAISS HNSW + rerank": faiss_hnsw,
        "LanceDB multivector": lance_multivector,
        "Qdrant local": qdrant_local,
    }.items():
        try:
            build, seconds, note = engine(folder, corpus, queries, truth, index)
        except ImportError as error:
            print(f"{'':>9} {name}: not measured ({error})")
            continue
        print(
            f"{'':>9} {name}: build {build:.1f} s, p50 {1e3 * seconds:.1f} ms, {seconds / ours:.1f} times ours{note}",
            flush=True,
        )


def faiss_hnsw(folder, corpus, queries, truth, index):
    import faiss  # pyright: ignore[reportMissingImports]  of the extra bench

    started = time.perf_counter()
    hnsw = faiss.IndexHNSWFlat(corpus.dim, 32, faiss.METRIC_INNER_PRODUCT)
    for frames in corpus.blocks():
        hnsw.add(pool_frames(frames, torch.ones(frames.shape[:2])).numpy())
    build = time.perf_counter() - started
    hnsw.hnsw.efSearch = index.stats()["candidates"]
    resident, options, seconds, found = index._searcher.source.resident, ScoreOptions(), [], 0
    slot_of = {int(row): slot for slot, row in enumerate(resident.row_ids)}
    for a in range(len(queries[0])):
        query = TextFeatures(*(part[a : a + 1] for part in queries))
        started = time.perf_counter()
        _, positions = hnsw.search(query_vectors(query, options).numpy(), hnsw.hnsw.efSearch)
        slots = torch.tensor([slot_of[p] for p in positions[0].tolist() if p in slot_of])
        scores, _ = score_each(query, resident.frames.gather(slots).as_batch(), options)
        best = slots[scores[0].topk(truth.shape[1]).indices]
        index._searcher.source.fields(resident.row_ids[best.numpy()])
        seconds.append(time.perf_counter() - started)
        found += len(set(resident.row_ids[best.numpy()].tolist()) & set(truth[a].tolist()))
    return build, float(np.median(seconds)), f", overlap {found / truth.numel():.3f}"


def lance_multivector(folder, corpus, queries, truth, index):
    import lancedb

    vector = pa.list_(pa.float16(), corpus.dim)
    schema = pa.schema([("id", pa.int64()), ("frames", pa.list_(vector))])
    table = lancedb.connect(folder / "multivector").create_table("videos", schema=schema)
    build, start = 0.0, 0
    for frames in corpus.blocks():
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(frames.half().numpy().ravel()), corpus.dim)
        offsets = pa.array(np.arange(len(frames) + 1, dtype=np.int32) * corpus.frames)
        ids = pa.array(np.arange(start, start + len(frames)))
        rows = pa.table([ids, pa.ListArray.from_arrays(offsets, vectors)], schema=schema)
        started = time.perf_counter()
        table.add(rows)
        build += time.perf_counter() - started
        start += len(frames)

    def search(tokens):
        query: Any = table.search(tokens)  # of vectors, which alone have a distance
        query.distance_type("cosine").select(["id"]).limit(10).to_arrow()

    return build, median_seconds(search, queries), ""


def qdrant_local(folder, corpus, queries, truth, index):
    from qdrant_client import QdrantClient, models  # pyright: ignore[reportMissingImports]

    client = QdrantClient(":memory:")
    comparator = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    config = models.VectorParams(size=corpus.dim, distance=models.Distance.DOT, multivector_config=comparator)
    client.create_collection("videos", vectors_config=config)
    build, start = 0.0, 0
    for frames in corpus.blocks():
        started = time.perf_counter()
        points = [models.PointStruct(id=start + i, vector=f.tolist()) for i, f in enumerate(frames)]
        client.upsert("videos", points)
        build += time.perf_counter() - started
        start += len(frames)

    def search(tokens):
        client.query_points("videos", query=tokens.tolist(), limit=10)

    return build, median_seconds(search, queries), ""


def median_seconds(search, queries) -> float:
    seconds = []
    for a in range(SLOW_QUERIES):
        tokens = torch.cat([queries[0][a : a + 1], queries[1][a]]).numpy()
        started = time.perf_counter()
        search(tokens)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))
