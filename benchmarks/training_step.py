"""How fast a training step is, and which share of it is spent outside the CLIP towers.

    python benchmarks/training_step.py --batch 128          # ViT-B/32, 12 frames, 32 words, random weights
    python benchmarks/training_step.py --memory             # peak memory: batch 64, 512 cached in pieces of 64

What is outside the towers is measured alone: from given features to the loss and back, clipping and AdamW. The towers'
forward and backward are measured alone too, and the share is of the sum of both.
On a GPU the step runs in bf16, and the achieved matrix rate is printed beside the card's, measured.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from accelerate import Accelerator

from dmae.modeling import DmaeConfig, DmaeModel
from dmae.training.config import TrainConfig
from dmae.training.grad_cache import cached_backward
from dmae.training.optimization import make_optimizer

VOCABULARY = 49408


def make_model(options: argparse.Namespace) -> DmaeModel:
    text = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "num_hidden_layers": 12}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
    return DmaeModel(
        DmaeConfig(
            text_config=text | {"vocab_size": VOCABULARY, "eos_token_id": VOCABULARY - 1},
            vision_config=vision | {"image_size": 224, "patch_size": options.patch},
            num_frames=options.frames,
            max_words=options.words,
        )
    ).train()


def make_inputs(options: argparse.Namespace, rows: int, device) -> dict[str, torch.Tensor]:
    input_ids = torch.randint(0, VOCABULARY - 2, (rows, options.words), device=device)
    input_ids[:, -1] = VOCABULARY - 1
    return {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "pixel_values_videos": torch.randn(rows, options.frames, 3, 224, 224, device=device),
    }


def random_like(features: tuple, rows: int) -> tuple:
    """Features of as many rows, unit norm, weights 1; they take a gradient."""
    embeds = [torch.randn(rows, *part.shape[1:], device=part.device) for part in features[:-1]]
    unit = [torch.nn.functional.normalize(part, dim=-1).requires_grad_() for part in embeds]
    make: Any = type(features)
    return make(*unit, torch.ones(rows, *features[-1].shape[1:], device=features[-1].device))


def seconds(function, repeats: int, device) -> float:
    """The fastest of `repeats` calls, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def measure_step(options: argparse.Namespace) -> None:
    cuda = torch.cuda.is_available()
    accelerator = Accelerator(mixed_precision="bf16" if cuda else "no", cpu=not cuda)
    bare = make_model(options)
    model, optimizer = accelerator.prepare(bare, make_optimizer(bare, TrainConfig()))
    inputs = make_inputs(options, options.batch, accelerator.device)

    def step():
        accelerator.backward(model(**inputs, return_loss=True).loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    # Random features of the right shapes: the time of the loss does not depend on what they are.
    with torch.no_grad():
        one = model(**{name: value[:1] for name, value in inputs.items()}, return_logits=False)
    text, video = (random_like(kind, options.batch) for kind in (one.text_features, one.video_features))

    def outside():
        # Every parameter has a gradient, zero for the towers', so that clipping and AdamW do all their work.
        for parameter in bare.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        accelerator.backward(model(text_features=text, video_features=video, return_loss=True).loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def towers():
        # In pieces where the whole batch's activations do not fit in memory; each row is its own work anyway.
        for piece in zip(*(value.split(options.piece or options.batch) for value in inputs.values())):
            output = model(**dict(zip(inputs, piece)), return_logits=False)
            features = [output.sentence_embeds, output.word_embeds, output.frame_embeds]
            torch.autograd.backward(features, [torch.ones_like(feature) for feature in features])
        optimizer.zero_grad()

    print(f"ViT-B/{options.patch}, batch {options.batch}, {options.frames} frames, {accelerator.device.type}")
    rest = seconds(outside, options.repeats, accelerator.device)
    print(f"{'outside the towers':28}{rest:10.3f} s", flush=True)
    optimizer.zero_grad()
    inside = seconds(towers, options.repeats, accelerator.device)
    print(f"{'towers, forward + backward':28}{inside:10.3f} s")
    print(f"{'share outside the towers':28}{100 * rest / (rest + inside):10.1f} %", flush=True)
    # In pieces no whole step was run: its time is the sum.
    whole = rest + inside if options.piece else seconds(step, options.repeats, accelerator.device)
    print(f"{'sum of both' if options.piece else 'whole step':28}{whole:10.3f} s")
    print(f"{'samples a second':28}{options.batch / whole:10.2f}")
    if cuda:
        rate, card = operations(options) / whole, matrix_rate(accelerator.device)
        print(f"{'matrix rate, of the card’s':28}{rate / 1e12:10.0f} of {card / 1e12:.0f} TFLOP/s, {rate / card:.0%}")


def operations(options: argparse.Namespace) -> float:
    """Floating-point operations of a step in the towers: the backward takes twice the forward's."""
    return 3 * options.batch * sum(tower_operations(options))


def tower_operations(options: argparse.Namespace) -> tuple[float, float]:
    """Floating-point operations of a video's and a text's forward: 2 a weight and token, and attention."""
    patches = (224 // options.patch) ** 2 + 1
    vision = 12 * (12 * 768**2 * patches + 2 * patches**2 * 768)
    text = 12 * (12 * 512**2 * options.words + 2 * options.words**2 * 512)
    return 2 * options.frames * vision, 2 * text


def matrix_rate(device, dtype=torch.bfloat16) -> float:
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda: left @ right, 10, device)


def measure_memory(options: argparse.Namespace) -> None:
    """Each in a process of its own, since a process's peak never falls."""
    for rows, piece in ((64, 0), (512, 64)):
        shape = ["--frames", str(options.frames), "--patch", str(options.patch)]
        arguments = ["--peak-of", str(rows), str(piece), *shape]
        # Freed tensors go back to the system at once: the heap's holes are not what is measured.
        env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(
            [sys.executable, __file__, *arguments], env=env, capture_output=True, text=True, check=True
        )
        print(f"batch {rows:4}{f', in pieces of {piece}' if piece else ', at once':20}{done.stdout.strip():>10} MB")


def peak_of(options: argparse.Namespace) -> None:
    """Peak memory above model, gradients and inputs, in MB, of one forward and backward."""
    rows, piece = options.peak_of
    model = make_model(options)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # there from the second batch on, either way
    # The inputs are the same frames again and again: their memory is not what is measured.
    inputs = {name: value.expand(rows, *value.shape[1:]) for name, value in make_inputs(options, 1, "cpu").items()}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if piece:
        cached_backward(model, inputs, piece)
    else:
        model(**inputs, return_loss=True).loss.backward()
    print(round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--words", type=int, default=32)
    parser.add_argument("--patch", type=int, default=32)
    parser.add_argument("--piece", type=int, help="rows that the towers take at once; default: the batch")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--memory", action="store_true", help="peak memory, cached against uncached")
    parser.add_argument("--peak-of", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        peak_of(options)
    elif options.memory:
        measure_memory(options)
    else:
        measure_step(options)


if __name__ == "__main__":
    main()
