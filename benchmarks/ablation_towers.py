"""The ablation's stand-in for CLIP: a vision and a text tower trained on stills, from random weights.

    python benchmarks/ablation_towers.py runs/ablation/untrained runs/ablation/towers --steps 2000
    python benchmarks/ablation_towers.py --probe runs/ablation/towers     # what a frame's embedding tells of a place

CLIP knows roughly where in a picture something is. Stills with captions of looks alone do not teach that, and then no
loss over videos can learn motion: the towers would have to learn place first, through the frame transformer. So a
linear head reads, from the embedding of each still, the place of the one object of each colour, and is thrown away.
"""

import argparse
import random

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import get_cosine_schedule_with_warmup

from dmae.modeling.loading import load_pretrained
from dmae.training.synthetic_captions import SIZE_WORDS
from dmae.training.synthetic_rendering import render
from dmae.training.synthetic_scenes import COLOURS, sample_scenes

PLACE_WEIGHT = 20.0  # squared errors of places are about a twentieth of the contrastive loss


class Stills:
    """Single frames of scenes as drawn, `per_scene` of each, with captions of what is in them."""

    def __init__(self, split: str, scenes: int, size: int, seed: int, per_scene: int = 3):
        rng = random.Random(f"{seed} {split} stills")
        self.scenes = list(sample_scenes(split, scenes, rng))
        self.pixels, self.centres = [], []
        for scene in self.scenes:
            frames = render(scene, size)
            for number in rng.sample(range(len(frames)), per_scene):
                self.pixels.append(frames[number])
                done = scene.progress(number / (len(frames) - 1))
                self.centres.append([thing.centre(share) for thing, share in zip(scene.things, done)])
        self.per_scene, self.centres = per_scene, np.array(self.centres, dtype=np.float32)  # (stills, 2 objects, xy)

    def batch(self, count: int, rng: random.Random) -> tuple[list[str], np.ndarray, torch.Tensor, torch.Tensor]:
        """Captions, pictures (B, H, W, 3), and of each colour the object's centre (B, C, 2) and whether there is just
        one (B, C), of stills of different scenes."""
        chosen = rng.sample(range(len(self.scenes)), count)
        captions, pictures = [], []
        places, known = torch.zeros(count, len(COLOURS), 2), torch.zeros(count, len(COLOURS))
        for row, number in enumerate(chosen):
            still = number * self.per_scene + rng.randrange(self.per_scene)
            things = self.scenes[number].things
            nouns = [f"a {rng.choice(SIZE_WORDS[thing.size])} {thing.colour} {thing.shape}" for thing in things]
            rng.shuffle(nouns)
            captions.append(" and ".join(nouns))
            pictures.append(self.pixels[still])
            for thing, centre in zip(things, self.centres[still]):
                colour = list(COLOURS).index(thing.colour)
                places[row, colour] = torch.from_numpy(centre)
                known[row, colour] += 1
        return captions, np.stack(pictures), places - 0.5, (known == 1).float()


def train(model, processor, stills: Stills, *, steps: int, batch_size: int, learning_rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    rng = random.Random(seed)
    head = torch.nn.Linear(model.config.projection_dim, 2 * len(COLOURS))
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    scheduler = get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    bar = tqdm(range(steps), desc="Training towers", unit="step")
    for _ in bar:
        captions, pictures, places, known = stills.batch(batch_size, rng)
        inputs = processor(text=captions, videos=list(pictures[:, None]), num_frames=1, return_tensors="pt")
        output = model(**inputs, return_loss=True)
        guess = head(output.frame_embeds[:, 0]).unflatten(1, (len(COLOURS), 2))
        error = (F.mse_loss(guess, places, reduction="none").mean(dim=2) * known).sum() / known.sum()
        loss = output.loss + PLACE_WEIGHT * error
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        bar.set_postfix(contrastive=f"{output.loss.item():.2f}", place=f"{error.item() ** 0.5:.3f}", refresh=False)


@torch.no_grad()
def probe(model, processor, *, fit: int = 1500, test: int = 500, size: int = 64) -> dict[str, float]:
    """How much of a place and a size a ridge regression reads off a frame's embedding: R² over objects of test
    scenes, fitted on training scenes. The probe knows the object's colour, as the caption does."""
    model.eval()
    parts = {}
    for split, scenes in {"train": fit, "test": test}.items():
        stills = Stills(split, scenes, size, seed=1, per_scene=1)
        _, pictures, places, known = stills.batch(scenes, random.Random(1))
        inputs = processor.video_processor(list(pictures[:, None]), num_frames=1, return_tensors="pt")
        frames = torch.cat(
            [model.get_video_features(part).frame_embeds[:, 0] for part in inputs["pixel_values_videos"].split(100)]
        )
        parts[split] = frames.double(), places.double(), known.bool()
    found = {"x": [], "y": []}
    for colour in range(len(COLOURS)):
        (x, y, seen), (test_x, test_y, test_seen) = parts["train"], parts["test"]
        weights = _ridge(x[seen[:, colour]], y[seen[:, colour], colour])
        rows = test_seen[:, colour]
        error = (_with_one(test_x[rows]) @ weights - test_y[rows, colour]).square().mean(dim=0)
        share = 1 - error / test_y[rows, colour].var(dim=0)
        for name, value in zip(found, share.tolist()):
            found[name].append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _ridge(x: torch.Tensor, y: torch.Tensor, strength: float = 0.1) -> torch.Tensor:
    x = _with_one(x)
    return torch.linalg.solve(x.T @ x + strength * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y)


def _with_one(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="an untrained model of `dmae init`")
    parser.add_argument("output", nargs="?", help="folder to write the trained one to")
    parser.add_argument("--probe", metavar="MODEL", help="only show what this model's frame embeddings tell of places")
    parser.add_argument("--scenes", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.probe and not options.output:
        parser.error("name a model and an output folder, or --probe MODEL")
    # Of a trained model too, the frames as the vision tower sees them.
    alone = {"temporal_layers": 0, "tpm_predictor": None, "loss": "infonce"}
    model, processor = load_pretrained(options.probe or options.model, **alone)
    if not options.probe:
        size = processor.video_processor.crop_size["height"]
        stills = Stills("train", options.scenes, size, options.seed)
        train(model, processor, stills, steps=options.steps, batch_size=options.batch,
              learning_rate=options.learning_rate, seed=options.seed)
        model.save_pretrained(options.output)
        processor.save_pretrained(options.output)
    print("R² of an object's place in the embedding of a frame:",
          ", ".join(f"{name} {value:.2f}" for name, value in probe(model, processor).items()))


if __name__ == "__main__":
    main()
