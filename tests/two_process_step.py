"""What each of two processes does in tests/training/test_distributed.py: `torch.distributed.run … FILE RESULT`."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from training_parts import gradients, random_inputs, tiny_model

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
ROWS = {"even": 6, "uneven": 7}


def share(inputs: dict, rank: int, processes: int) -> dict:
    rows = torch.from_numpy(np.array_split(np.arange(len(inputs["input_ids"])), processes)[rank])
    mine = {name: value[rows] for name, value in inputs.items()}
    longest = int(mine["attention_mask"].sum(dim=1).max())
    cut = ("input_ids", "attention_mask", "word_weights")  # as the collator does: each process has its own length
    return {name: value[:, :longest] if name in cut else value for name, value in mine.items()}


def main(result: Path) -> None:
    accelerator = Accelerator(cpu=True)
    found = {"processes": dist.get_world_size()}
    for case, options in CASES.items():
        for size, rows in ROWS.items():
            model = accelerator.prepare(tiny_model(**options)[0])
            assert type(model).__name__ == "DistributedDataParallel"
            mine = share(random_inputs(rows, seed=3), accelerator.process_index, accelerator.num_processes)
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
