"""What each of several processes does in tests/training/test_processes.py:
`torch.distributed.run … FILE CORPUS MODEL RESULT`."""

import sys

import torch
from accelerate import PartialState

from dmae.modeling import ModelError, load_pretrained
from dmae.training.corpora import load_samples
from dmae.training.distributed import Processes
from dmae.training.evaluation.evaluation import encode_samples, evaluate_encoded, similarity_matrix

BANK = ["a red picture", "everything is blue", "a grey picture", "nothing is green", "white"]


def measured(samples, model, processor, processes=None) -> dict:
    """Everything that an evaluation gives: by one process, or by those of a launch."""
    shared = {"progress": False} if processes is None else {"progress": False, "processes": processes}
    encoded = encode_samples(model, processor, samples, batch_size=3, workers=0, **shared)
    similarity = (
        None if encoded.text is None else similarity_matrix(model, encoded.text, encoded.video, progress=False)
    )
    metrics = evaluate_encoded(model, processor, encoded, use_dual_softmax=True, query_bank=BANK, **shared)
    return {
        "similarity": similarity if processes is None else processes.whole(similarity),
        "metrics": metrics,
        "skipped": [tuple(item) for item in encoded.skipped],
        "samples": [sample.video_id for sample in encoded.samples],
    }


def told_of_no_numbers(samples, model, processor, processes) -> str:
    """What this process is told where the last one has a text whose scores are no numbers."""
    encoded = encode_samples(model, processor, samples, workers=0, progress=False, processes=processes)
    if processes.index == processes.count - 1:
        encoded.text.sentence_embeds[0] *= float("nan")
    try:
        evaluate_encoded(model, processor, encoded, progress=False, processes=processes)
    except ModelError as error:
        return str(error)
    return ""


def cases(corpus) -> dict:
    """The whole corpus, one of whose videos is broken; a single video, so that others have none; a single text."""
    samples = load_samples(corpus, "test")
    single = [sample for sample in samples if sample.video_id == "00.mp4"]
    return {"corpus": samples, "one video": single, "two videos": samples[:2]}


if __name__ == "__main__":
    corpus, folder, result = sys.argv[1:]
    state = PartialState(cpu=True)
    model, processor = load_pretrained(folder)
    processes = Processes.of(state)
    found = {name: measured(samples, model, processor, processes) for name, samples in cases(corpus).items()}
    everyone = processes.gather({name: case["metrics"] for name, case in found.items()})
    told = processes.gather(told_of_no_numbers(cases(corpus)["corpus"], model, processor, processes))
    if processes.main:
        torch.save({"processes": processes.count, "everyone": everyone, "told": told, **found}, result)
    state.destroy_process_group()
