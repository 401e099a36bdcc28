"""Does the embedding of a frame tell where an object is? Motion and order cannot be learned from one that does not.

    python benchmarks/place_probe.py runs/ablation/towers        # any DMAE model of small pictures

A ridge regression from the embeddings of training stills to the place of the object of each colour; R² over test
stills, mean of the colours: 1 is exact, 0 knows nothing. The frame transformer is left out.
"""

import argparse

import torch

from dmae.modeling.encoding import Normalizer
from dmae.modeling.loading import load_pretrained
from dmae.training.synthetic.stills import Stills, embed_stills

STILLS = {"train": 2000, "test": 500}
RIDGE = 0.1


@torch.no_grad()
def probe(name: str) -> torch.Tensor:
    """R² (2,) of x and y."""
    model, processor = load_pretrained(name)
    normalize = Normalizer(processor.video_processor)
    embeds, stills = {}, {}
    for split, count in STILLS.items():
        side = processor.video_processor.crop_size["height"]
        stills[split] = Stills(split, count, side, seed=1, per_scene=1)
        pieces = stills[split].pixels[:, None].split(100)
        frames = torch.cat([embed_stills(model, normalize(piece))[:, 0] for piece in pieces]).double()
        embeds[split] = torch.cat([frames, torch.ones(len(frames), 1)], dim=1)
    shares = []
    for colour in range(stills["train"].known.shape[1]):
        (x, y), (test_x, test_y) = (
            (embeds[split][seen], stills[split].places[seen, colour].double())
            for split in STILLS
            for seen in (stills[split].known[:, colour],)
        )
        weights = torch.linalg.solve(x.T @ x + RIDGE * torch.eye(x.shape[1]), x.T @ y)
        shares.append(1 - (test_x @ weights - test_y).square().mean(dim=0) / test_y.var(dim=0))
    return torch.stack(shares).mean(dim=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    for name in parser.parse_args().models:
        try:
            x, y = probe(name).tolist()
        except (OSError, ValueError) as error:
            raise SystemExit(f"{name}: {error}") from None
        print(f"{name}: R² of an object's place from left to right {x:.2f}, from top to bottom {y:.2f}")


if __name__ == "__main__":
    main()
