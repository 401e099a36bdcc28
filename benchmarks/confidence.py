"""Does a search know when nothing matches, and does "this but not that" leave that out?

    python benchmarks/confidence.py demo/model                # a model of the synthetic scenes, such as the demo's
    python benchmarks/confidence.py demo/model --seed 7       # on other scenes

Drawn scenes of the test split are indexed, and as many others are not; no two of them fit one caption. The caption of
each is searched for, and its first hit's confidence and score are compared by how well they tell the captions whose
scene is in the index from the others: AUROC, and how many of the others are answered by the one threshold that keeps
95 % of those that are there. Many of the others have their very objects in the index, moving otherwise.

Then short queries with `without`: "a red circle" without "a star", "a star" without "something red", drawn among those
that at least ten videos fit. Clean is an answer of ten videos of which none shows what was to be left out.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from dmae import VideoIndex, load_pretrained
from dmae.training.synthetic.scenes import COLOURS, SHAPES
from dmae.training.synthetic.synthetic import CAPTIONS, write_corpus

KEPT = 0.95
K = 10
TIMED = 200  # queries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--videos", type=int, default=500, help="in the index, and as many captions of others")
    parser.add_argument("--queries", type=int, default=200, help="of each kind with `without`")
    parser.add_argument("--seed", type=int, default=1, help="of the scenes (default: 1; the demo's own are 0)")
    args = parser.parse_args()
    model, processor = load_pretrained(args.model)
    with tempfile.TemporaryDirectory() as scratch:
        corpus = write_corpus(Path(scratch) / "corpus", num_train=1, num_test=2 * args.videos, seed=args.seed)
        rows = [json.loads(line) for line in (corpus / "test" / CAPTIONS).read_text(encoding="utf-8").splitlines()]
        index = VideoIndex.create(Path(scratch) / "index", model, processor)
        for row in rows[args.videos :]:
            (corpus / "test" / row["video"]).unlink()
        index.add(corpus / "test", progress=False)
        index.prepare()
        report_confidence(index, [row["captions"][0] for row in rows], args.videos)
        report_without(index, rows[: args.videos], args.queries, random.Random(args.seed))


def report_confidence(index: VideoIndex, captions: Sequence[str], present: int) -> None:
    """The first `present` of the captions are of scenes in the index, the others of none."""
    queries = [index.encode_text(caption) for caption in captions]
    best = [hits[0] for hits in index.search_many(queries, 1)]
    table = Table(title=f"{present} captions of scenes in the index, {len(captions) - present} of others")
    for title in ("by the first hit's", "AUROC", f"others answered at {KEPT:.0%} kept"):
        table.add_column(title)
    for name in ("confidence", "score"):
        values = np.array([getattr(hit, name) for hit in best])
        answered = (values[present:] >= np.quantile(values[:present], 1 - KEPT)).mean()
        table.add_row(name, f"{auroc(values[:present], values[present:]):.3f}", f"{answered:.1%}")
    Console().print(table)
    searcher = index._searcher
    seconds = {}
    for bank in (searcher._bank, None):
        searcher._bank = bank
        seconds[bank] = [timed(lambda q=query: index.search(q, K)) for query in queries[:TIMED]]
    with_it, without = (1e3 * float(np.median(taken)) for taken in seconds.values())
    searcher._bank = next(iter(seconds))
    print(f"a query takes {with_it:.2f} ms with confidence and {without:.2f} ms without")


def timed(work: Callable) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """How often one of the former is above one of the latter."""
    ordered = np.sort(negative)
    below = (np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")) / 2
    return float(below.mean() / len(negative))


def report_without(index: VideoIndex, rows: Sequence[dict], count: int, rng: random.Random) -> None:
    looks = {row["video"]: [(o["colour"], o["shape"]) for o in row["attributes"]["objects"]] for row in rows}
    table = Table(title=f"{count} queries each, the first {K}")
    for title in ("query", "clean", "of the ten, show the query", "of the ten, show what is left out"):
        table.add_column(title)

    def one_colour() -> tuple[str, Callable, str, Callable]:
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        other = rng.choice([name for name in COLOURS if name != colour])
        return f"a {shape}", lambda o: o[1] == shape, f"something {other}", lambda o: o[0] == other

    def one_shape() -> tuple[str, Callable, str, Callable]:
        look = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        other = rng.choice([name for name in SHAPES if name != look[1]])
        return f"a {look[0]} {look[1]}", lambda o: o == look, f"a {other}", lambda o: o[1] == other

    for name, draw in (("a red circle, not a star", one_shape), ("a star, not something red", one_colour)):
        clean, right, wrong, asked = 0, 0, 0, 0
        while asked < count:
            query, wanted, without, unwanted = draw()
            fitting = [v for v, own in looks.items() if any(map(wanted, own)) and not any(map(unwanted, own))]
            if len(fitting) < K:
                continue
            asked += 1
            found = [looks[hit.id] for hit in index.search(query, K, without=without)]
            wrong_here = sum(any(map(unwanted, own)) for own in found)
            clean, wrong = clean + (wrong_here == 0), wrong + wrong_here
            right += sum(any(map(wanted, own)) for own in found)
        table.add_row(name, f"{clean / count:.1%}", f"{right / count / K:.1%}", f"{wrong / count / K:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
