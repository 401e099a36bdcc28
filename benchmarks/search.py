"""How fast, how exact and how large is search, from a thousand to a million videos, and beside other engines?

    python benchmarks/search.py                                    # 1,000 to 100,000 videos
    python benchmarks/search.py --sizes 1000000 --dtype int8       # a million
    python benchmarks/search.py --sizes 100000 --rivals            # beside FAISS, LanceDB's multivector, Qdrant local
    python benchmarks/search.py --sizes 30000 --dtype float16 int8 --merge-above 0.95   # what storage costs

Text encoding is not timed. Overlap is with the exhaustive DMAE top ten. The embeddings are those of
structured_embeddings.py. "A new process" opens the index and asks once, its imports not counted. A filter is timed
when it is new and when it has been asked with before. Rivals are measured where they are installed (`pip install
faiss-cpu qdrant-client`, into an environment of their own choice).
"""

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import search_rivals
import torch
from structured_embeddings import StructuredEmbeddings

from dmae.modeling import dmae_similarity
from dmae.modeling.features import TextFeatures
from dmae.retrieval import SearchLimits, VideoIndex
from dmae.retrieval.search.combination import Queries
from dmae.retrieval.search.stages import rank

WARM_UP = 3
BATCH = 32
BATCHES = 10
K = 10
SHELVES = 100


def main() -> None:
    args = parse()
    torch.manual_seed(0)
    results = []
    threads = torch.get_num_threads()
    print(f"{args.frames} frames x {args.dim} dimensions, {threads} threads, {args.queries} queries, top {K}")
    print(HEADER)
    for size in args.sizes:
        for dtype in args.dtype:
            for merge_above in dict.fromkeys([None, args.merge_above]):
                results.append(measure(args, size, dtype, merge_above))
    if len(args.sizes) > 1:
        report_growth(results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 30_000, 100_000])
    parser.add_argument("--dtype", nargs="+", default=["float16"], choices=("float16", "int8", "float32"))
    parser.add_argument("--merge-above", type=float, help="also measure with frames merged above this cosine")
    parser.add_argument("--candidates", type=int, default=SearchLimits().candidates)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument(
        "--unrelated", action="store_true", help="frames that have nothing in common: the hardest case"
    )
    parser.add_argument("--rivals", action="store_true", help="measure other engines on the same vectors")
    parser.add_argument(
        "--scratch", type=Path, help="folder for the indexes (default: a temporary one); emptied afterwards"
    )
    return parser.parse_args()


HEADER = (
    f"{'videos':>9} {'storage':>12} {'build s':>8} {'GB disk':>8} {'GB memory':>10} {'load s':>7} "
    f"{'p50 ms':>7} {'p95 ms':>7} {'batch x':>8} {'overlap':>8}"
)


def measure(args, size: int, dtype: str, merge_above: float | None) -> tuple[int, float]:
    """Builds an index, prints its row and returns `(size, p50 in seconds)`."""
    folder = Path(tempfile.mkdtemp(prefix="search-", dir=args.scratch))
    try:
        corpus = StructuredEmbeddings(size, args.frames, args.dim, unrelated=args.unrelated)
        queries = corpus.texts(args.queries)
        index = VideoIndex.create(
            folder / "index", dim=args.dim, dtype=dtype, merge_above=merge_above, limits=SearchLimits(args.candidates)
        )
        build, truth = fill(index, corpus, queries)
        load = timed(index.prepare)
        overlap, latencies, batch = search(index, queries, truth)
        p50, p95 = np.percentile(latencies, [50, 95])
        stats = index.stats()
        storage = dtype + (f">{merge_above}" if merge_above else "")
        print(
            f"{size:>9,} {storage:>12} {build:>8.1f} {stats['bytes'] / 1e9:>8.2f} "
            f"{stats['resident_bytes'] / 1e9:>10.2f} {load:>7.1f} "
            f"{1e3 * p50:>7.1f} {1e3 * p95:>7.1f} {p50 / batch:>8.1f} {overlap:>8.3f}",
            flush=True,
        )
        report_parts(index, queries)
        report_first_and_filtered(index, queries, p50)
        if args.rivals:
            search_rivals.measure(folder, corpus, queries, truth, p50, index)
        return size, p50
    finally:
        shutil.rmtree(folder)


def fill(index: VideoIndex, corpus: StructuredEmbeddings, queries) -> tuple[float, torch.Tensor]:
    """Adds the corpus; returns the seconds that adding took and the `(A, K)` positions of the exhaustive top."""
    build, start = 0.0, 0
    best = torch.full((len(queries[0]), K), -math.inf)
    where = torch.zeros(len(queries[0]), K, dtype=torch.long)
    for frames in corpus.blocks():
        ids = [f"v{start + i}" for i in range(len(frames))]
        shelves = [{"shelf": (start + i) % SHELVES} for i in range(len(frames))]
        build += timed(
            lambda ids=ids, frames=frames, shelves=shelves: index.add_embeddings(ids, frames, None, shelves)
        )
        scores = dmae_similarity(queries[0], queries[1], queries[2], frames, torch.ones(frames.shape[:2]))
        merged = torch.cat([best, scores], dim=1).topk(K)
        positions = torch.cat([where, torch.arange(start, start + len(frames)).expand(len(scores), -1)], dim=1)
        best, where = merged.values, positions.gather(1, merged.indices)
        start += len(frames)
    build += timed(index.optimize)
    return build, where


def search(index: VideoIndex, queries, truth: torch.Tensor) -> tuple[float, list[float], float]:
    """Overlap with the truth, seconds of each single query, and median seconds a query in batches of `BATCH`."""
    singles = [tuple(part[a : a + 1] for part in queries) for a in range(len(queries[0]))]
    for single in singles[:WARM_UP]:
        index.search_embeddings(*single, k=K)
    latencies, found = [], 0
    for a, single in enumerate(singles):
        started = time.perf_counter()
        hits = index.search_embeddings(*single, k=K)[0]
        latencies.append(time.perf_counter() - started)
        found += len({hit.id for hit in hits} & {f"v{p}" for p in truth[a].tolist()})
    batch = tuple(part[torch.arange(BATCH) % len(part)] for part in queries)
    index.search_embeddings(*batch, k=K)
    batches = [timed(lambda: index.search_embeddings(*batch, k=K)) for _ in range(BATCHES)]
    return found / truth.numel(), latencies, float(np.median(batches)) / BATCH


def report_parts(index: VideoIndex, queries) -> None:
    """Where the milliseconds of a query go, by the median of each part."""
    searcher, source = index._searcher, index._searcher.source
    seconds: dict[str, list[float]] = {name: [] for name in ("refresh", "stage one", "stage two", "fields", "whole")}
    for a in range(len(queries[0])):
        single = tuple(part[a : a + 1] for part in queries)
        asked = Queries([(TextFeatures(*single), searcher.options)])
        seconds["refresh"].append(timed(lambda: source.refresh(with_frames=True)))
        found: list = []
        count = max(searcher.limits.candidates, 4 * K)
        seconds["stage one"].append(timed(lambda f=found, q=asked, c=count: f.extend(source(q, c, None))))
        rows: list = []
        seconds["stage two"].append(timed(lambda f=found, r=rows: r.extend(rank(f[0], K)[0])))
        seconds["fields"].append(timed(lambda r=rows: source.fields([row.row_id for row in r])))
        seconds["whole"].append(timed(lambda s=single: index.search_embeddings(*s, k=K)))
    parts = ", ".join(f"{name} {1e3 * float(np.median(taken)):.2f}" for name, taken in seconds.items())
    print(f"{'':>9} ms of a query: {parts}", flush=True)


FIRST_ANSWER = """
import sys, time, torch
from dmae.retrieval import VideoIndex
query = torch.load(sys.argv[2])
started = time.perf_counter()
VideoIndex.open(sys.argv[1]).search_embeddings(*query, k=10)
print(time.perf_counter() - started)
"""


def report_first_and_filtered(index: VideoIndex, queries, p50: float) -> None:
    """What the first answer of a new process takes, and what a filter costs."""
    singles = [tuple(part[a : a + 1] for part in queries) for a in range(len(queries[0]))]
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        torch.save(singles[0], file.name)
        asked = [sys.executable, "-c", FIRST_ANSWER, index.table.uri, file.name]
        first = float(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    taken = {}
    for name, wheres in (
        ("new, by a number", [f"shelf = {n}" for n in range(len(singles))]),
        ("new, by a pattern", [f"id LIKE '%{n:02}'" for n in range(len(singles))]),
        ("asked before", ["shelf = 77"] * len(singles)),
    ):
        answers = zip(singles, wheres)
        taken[name] = [timed(lambda s=s, w=w: index.search_embeddings(*s, k=K, where=w)) for s, w in answers]
    times = ", ".join(f"{np.median(seconds) / p50:.1f} {name}" for name, seconds in taken.items())
    print(
        f"{'':>9} first answer of a new process {first:.2f} s; with a filter that keeps 1 %, times as long: {times}",
        flush=True,
    )


def report_growth(results: list[tuple[int, float]]) -> None:
    sizes, seconds = zip(*results)
    exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    print(f"p50 grows as the number of videos to the power {exponent:.2f}")


def timed(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
