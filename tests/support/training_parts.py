"""A tiny model, a tiny corpus and random batches for the tests of training."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import torch

from dmae.training.corpora import load_samples
from dmae.training.synthetic.init import new_model
from dmae.training.tracking import read_metrics

WORDS = "red green blue round square small large moves stands left right up down fast slow"


def tiny_model(**config):
    """A float64 model of 32 dimensions on 32 pixels and 2 frames, always of the same weights, and its processor."""
    options = {"image_size": 32, "patch_size": 16, "width": 32, "vision_layers": 1, "text_layers": 1} | config
    model, processor = new_model([WORDS], **{"num_frames": 2, "max_words": 8, "seed": 0, **options})
    return model.double().train(), processor


def random_inputs(rows: int, seed: int = 0, words: int = 8, frames: int = 2, size: int = 32) -> dict:
    """Arguments of `DmaeModel.forward` for `rows` pairs, in float64: captions of random length, some frames padded."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, words + 1, (rows, 1), generator=rng)
    attention_mask = (torch.arange(words) < lengths).long()
    input_ids = torch.randint(4, 40, (rows, words), generator=rng)
    input_ids[:, 0] = 2
    input_ids.scatter_(1, lengths - 1, 3)
    frame_mask = torch.ones(rows, frames, dtype=torch.long)
    frame_mask[::3, -1] = 0
    return {
        "input_ids": input_ids * attention_mask,
        "attention_mask": attention_mask,
        "word_weights": attention_mask * torch.randint(1, 3, (rows, words), generator=rng).float(),
        "pixel_values_videos": torch.randn(rows, frames, 3, size, size, generator=rng).double(),
        "frame_mask": frame_mask,
    }


def with_wrong_texts(inputs: dict, count: int) -> dict:
    """The inputs with `count` wrong texts, which belong to no video."""
    more = random_inputs(count, seed=9)
    return inputs | {"wrong_texts": {name: more[name] for name in ("input_ids", "attention_mask", "word_weights")}}


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def relative_difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The largest relative difference, in norm, between two models' gradients by parameter.

    A gradient that is zero but for rounding (of attention's key biases) is compared with all of them together.
    """
    assert ours.keys() == theirs.keys() and ours
    total = torch.stack([gradient.norm() for gradient in theirs.values()]).norm()
    assert total > 1
    return max(
        ((ours[name] - theirs[name]).norm() / theirs[name].norm().clamp(min=1e-6 * total)).item() for name in theirs
    )


# red, green and blue of 12 colours that differ by at least 85 in one of them
COLOURS = {
    **{"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0)},
    **{"yellow": (255, 255, 0), "cyan": (0, 255, 255), "pink": (255, 0, 255), "grey": (128, 128, 128)},
    **{"orange": (255, 128, 0), "purple": (128, 0, 255), "brown": (128, 64, 0)},
}


def write_corpus(folder: Path, videos: int = 12) -> Path:
    """Up to 12 real mp4 files, each of one colour, and two captions each that name it."""
    folder.mkdir(parents=True)
    rows = []
    for index, (name, colour) in enumerate(itertools.islice(COLOURS.items(), videos)):
        picture = np.full((32, 32, 3), colour, np.uint8)
        with av.open(str(folder / f"{index:02}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=4, width=32, height=32)
            stream.bit_rate = 400_000
            for _ in range(4):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        rows.append({"video": f"{index:02}.mp4", "captions": [f"a {name} picture", f"everything is {name}"]})
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def save_tiny_model(folder: Path, corpus: Path, **config) -> Path:
    """A float32 model in `folder` with the corpus's words, and its processor."""
    captions = [caption for sample in load_samples(str(corpus), "train") for caption in sample.captions]
    options = {"image_size": 32, "patch_size": 16, "width": 32, "vision_layers": 1, "text_layers": 1, "num_frames": 2}
    model, processor = new_model(captions, **{"max_words": 16, "seed": 0, **options, **config})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def loss_curve(run: Path) -> list[float]:
    """The loss of each step of a run with log_every=1, from its metrics.jsonl."""
    records = [record for record in read_metrics(run / "metrics.jsonl") if "loss" in record]
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))
    return [record["loss"] for record in records]


def launch(*arguments, processes: int = 2) -> subprocess.CompletedProcess:
    """Runs a script (or `-m` and a module) with its arguments in real processes that talk over gloo."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=200
    )
