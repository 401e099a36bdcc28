"""What the method costs: DMAE similarity beside the bare matrix product, TPM-CL beside its B² form.

    python benchmarks/similarity.py            # 400 × 400 texts and videos, 32 words, 12 frames, 512 dimensions

Operations of the similarity: A·(T+1)·B·F·D multiply-adds, of which the bare product of words and frames has
A·T·B·F·D; the rest (maxima, gathers, averages) is 5 passes over A·T·B·F numbers held a block at a time. A training
step has three bare products: one forward, two backward; a fourth computes each block again.
"""

import argparse
import resource
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from dmae.modeling import TokenWeightPredictor, dmae_similarity, negnce_loss, partial_order_loss


def seconds(function: Callable[[], object], repeats: int) -> float:
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def features(texts: int, videos: int, words: int, frames: int, dim: int) -> list[torch.Tensor]:
    def unit(*shape):
        return F.normalize(torch.randn(*shape), dim=-1)

    return [
        unit(texts, dim),
        unit(texts, words, dim),
        torch.ones(texts, words),
        unit(videos, frames, dim),
        torch.ones(videos, frames),
    ]


def peak_growth(function: Callable[[], object]) -> float:
    """MB by which the process's peak memory grows; call it before anything larger has run."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    function()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


@torch.no_grad()
def similarity_table(args: argparse.Namespace) -> None:
    case = features(args.size, args.size, args.words, args.frames, args.dim)
    # A small call first: what libraries allocate once is not the similarity's.
    dmae_similarity(*(t[:64] for t in case))
    memory = peak_growth(lambda: dmae_similarity(*case))
    words, frames = case[1].flatten(0, 1), case[3].flatten(0, 1)
    bare = seconds(lambda: words @ frames.t(), args.repeats)
    print(f"{'similarity':32} {'seconds':>8} {'of bare':>8}")
    print(f"{'bare matrix product':32} {bare:8.3f} {1:8.2f}")
    for name, options in {
        "DMAE": {},
        "without visual attention": {"visual_attention": False},
        "sentence only": {"text_attention": False},
    }.items():
        took = seconds(lambda options=options: dmae_similarity(*case, **options), args.repeats)
        print(f"{name:32} {took:8.3f} {took / bare:8.2f}")
    print(f"peak memory of DMAE: {memory:.0f} MB more; all token similarities at once would be "
          f"{args.size**2 * args.words * args.frames * 4 / 2**20:.0f} MB")  # fmt: skip


def training_table(args: argparse.Namespace) -> None:
    """Similarity and loss, forward and backward, beside the three bare products that they cannot do without."""
    sentence, words, weights, frames, mask = features(args.size, args.size, args.words, args.frames, args.dim)
    tokens, images = words.flatten(0, 1), frames.flatten(0, 1)
    products = tokens @ images.t()
    bare = seconds(lambda: (tokens @ images.t(), products @ images, products.t() @ tokens), args.repeats)

    def step():
        inputs = [t.clone().requires_grad_() for t in (sentence, words, frames)]
        negnce_loss(dmae_similarity(inputs[0], inputs[1], weights, inputs[2], mask)).backward()

    took = seconds(step, args.repeats)
    print(f"\n{'training step':32} {'seconds':>8} {'of bare':>8}")
    print(f"{'three bare matrix products':32} {bare:8.3f} {1:8.2f}")
    print(f"{'DMAE similarity and NegNCE':32} {took:8.3f} {took / bare:8.2f}")


def partial_order_table(args: argparse.Namespace) -> None:
    heads = (
        TokenWeightPredictor(args.frames, args.words, args.dim),
        TokenWeightPredictor(1, args.frames, args.dim),
    )
    print(f"\n{'TPM-CL, forward and backward':32} {'seconds':>8} {'of B²':>8}")
    for batch in (32, 128):
        sentence, words, _, frames, _ = features(batch, batch, args.words, args.frames, args.dim)

        def step(rows=slice(None), columns=slice(None), case=(sentence, words, frames)):
            sentence, words, frames = (
                t.clone().requires_grad_() for t in (case[0][rows], case[1][rows], case[2][columns])
            )
            partial_order_loss(sentence, words, frames, heads[0], heads[1]).backward()

        def every_pair(batch=batch, step=step):
            """The O(B²) form: a diagonal of pairs at a time, so that each of the B² pairs is scored once."""
            for shift in range(batch):
                step(columns=torch.arange(batch).roll(shift))

        took = seconds(step, args.repeats)
        print(f"{f'batch {batch}':32} {took:8.3f} {took / seconds(every_pair, 1):8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"size": 400, "words": 32, "frames": 12, "dim": 512, "repeats": 5, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    similarity_table(args)
    training_table(args)
    partial_order_table(args)


if __name__ == "__main__":
    main()
