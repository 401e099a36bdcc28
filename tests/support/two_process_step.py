"""What each of two processes does in tests/training/test_distributed.py: `torch.distributed.run … FILE RESULT`."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from training_parts import gradients, random_inputs, tiny_model, with_wrong_texts

from dmae.training.distributed import average_gradients, gather_features
from dmae.training.grad_cache import cached_backward

CASES = {
    "similarity": {"loss": "infonce", "tpm_predictor": None},
    "negnce": {"loss": "negnce", "tpm_predictor": None},
    "tpm_linear": {"loss": "infonce", "tpm_predictor": "linear"},
    "everything": {
        "loss": "negnce",
        "tpm_predictor": "attention",
        "learned_token_weights": True,
        "temporal_layers": 1,
        "learn_logit_scale": True,
    },
}
# How many pairs there are, and how many texts besides that belong to no video.
ROWS = {"even": (6, 0), "uneven": (7, 0), "wrong texts": (7, 3)}


def make_inputs(pairs: int, wrong: int) -> dict:
    return with_wrong_texts(random_inputs(pairs, seed=3), wrong)


def share(inputs: dict, rank: int, processes: int) -> dict:
    pairs, texts = (len(inputs[name]) for name in ("pixel_values_videos", "input_ids"))
    rows = np.array_split(np.arange(pairs), processes)[rank]
    wrong = np.array_split(np.arange(pairs, texts), processes)[rank]
    mine = {
        name: value[np.concatenate([rows, wrong]) if len(value) > pairs else rows] for name, value in inputs.items()
    }
    longest = int(mine["attention_mask"].sum(dim=1).max())
    cut = ("input_ids", "attention_mask", "word_weights")  # as the collator does: each process has its own length
    return {name: value[:, :longest] if name in cut else value for name, value in mine.items()}


def main(result: Path) -> None:
    accelerator = Accelerator(cpu=True)
    found = {"processes": dist.get_world_size()}
    for case, options in CASES.items():
        for size, counts in ROWS.items():
            model = accelerator.prepare(tiny_model(**options)[0])
            assert type(model).__name__ == "DistributedDataParallel"
            mine = share(make_inputs(*counts), accelerator.process_index, accelerator.num_processes)
            output = model(**mine, gather=gather_features, return_loss=True)
            accelerator.backward(output.loss)
            found[case, size] = output.loss.item(), gradients(model.module)
            model.zero_grad()
            with accelerator.no_sync(model):
                output = cached_backward(model, mine, 2, gather=gather_features, backward=accelerator.backward)
            average_gradients(model)
            found[case, size, "cached"] = output.loss.item(), gradients(model.module)
    if accelerator.is_main_process:
        torch.save(found, result)
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
