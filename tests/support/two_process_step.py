"""What each of two processes does in tests/training/test_distributed.py: `torch.distributed.run … FILE RESULT`."""

import sys
from pathlib import Path

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
# How many pairs there are, and how many wrong texts; of one, the second process has none.
ROWS = {"even": (6, None), "uneven": (7, None), "wrong texts": (7, 3), "one wrong text": (7, 1)}


def make_inputs(pairs: int, wrong: int | None) -> dict:
    inputs = random_inputs(pairs, seed=3)
    return inputs if wrong is None else with_wrong_texts(inputs, wrong)


def share(inputs: dict, rank: int, processes: int) -> dict:
    """The inputs of one process, cut to its longest text: each process has a length of its own, as collators do."""
    pairs, wrong = {**inputs}, inputs.get("wrong_texts", {})
    pairs.pop("wrong_texts", None)
    mine = {name: value.tensor_split(processes)[rank] for name, value in pairs.items()}
    mine_wrong = {name: value.tensor_split(processes)[rank] for name, value in wrong.items()}
    masks = torch.cat([part["attention_mask"] for part in (mine, mine_wrong) if part])
    longest = int(masks.sum(dim=1).max())
    cut = {name: mine[name][:, :longest] for name in ("input_ids", "attention_mask", "word_weights")}
    wrong_cut = {name: value[:, :longest] for name, value in mine_wrong.items()}
    return mine | cut | ({"wrong_texts": wrong_cut} if wrong else {})


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
