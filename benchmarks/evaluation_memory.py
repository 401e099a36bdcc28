"""What does evaluating a corpus of 10,000 texts and 10,000 videos take, once they are encoded?

    python benchmarks/evaluation_memory.py --texts 10000 --videos 10000 --words 16 --frames 12 --dim 64

Random unit vectors stand for features. "scores" is `similarity_matrix`, "ranks" is `retrieval_metrics`; memory is the
process's peak beyond the features themselves.
"""

import argparse
import resource
import time

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from dmae.modeling import DmaeConfig, DmaeModel, TextFeatures, VideoFeatures
from dmae.training.evaluation.evaluation import retrieval_metrics, similarity_matrix
from dmae.training.evaluation.score_normalization import dual_softmax


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def features(args: argparse.Namespace) -> tuple[TextFeatures, VideoFeatures]:
    def unit(*shape: int) -> torch.Tensor:
        return F.normalize(torch.randn(*shape, args.dim), dim=-1)

    text = TextFeatures(unit(args.texts), unit(args.texts, args.words), torch.ones(args.texts, args.words))
    return text, VideoFeatures(unit(args.videos, args.frames), torch.ones(args.videos, args.frames))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"texts": 10_000, "videos": 10_000, "words": 32, "frames": 12, "dim": 512}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.manual_seed(0)
    tower = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 1}
    config = DmaeConfig(text_config=tower, vision_config=tower, projection_dim=args.dim, tpm_predictor=None)
    model = DmaeModel(config).eval()
    text, video = features(args)
    own = torch.arange(args.texts) % args.videos

    table = Table("step", "seconds", "peak MiB beyond the features")
    base, results = peak_mib(), {}
    steps = {
        "scores": lambda: similarity_matrix(model, text, video),
        "ranks": lambda: retrieval_metrics(results["scores"], own),
        "dual softmax": lambda: dual_softmax(results["scores"]),
    }
    for name, step in steps.items():
        started = time.perf_counter()
        results[name] = step()
        table.add_row(name, f"{time.perf_counter() - started:.1f}", f"{peak_mib() - base:.0f}")
    Console().print(f"the score matrix alone: {args.texts * args.videos * 4 / 2**20:.0f} MiB", table)


if __name__ == "__main__":
    main()
