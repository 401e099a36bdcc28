"""Which part of the method helps: the paper's ablation on the synthetic corpus, several seeds, mean ± deviation.

    python benchmarks/ablation.py                                   # every row of training/configs/ablation
    python benchmarks/ablation.py --rows paper edits_infonce --seeds 0 1 2 --set max_steps=800
    python benchmarks/ablation.py --masked runs/ablation/runs/paper-0   # what TPM-CL masks in a trained model

All rows start from the same towers, trained on stills (the stand-in for CLIP, which knows what is where in a picture
too), and take equal steps, but those whose configuration says fewer to pay for what each costs more. Only the seed
changes new weights and the order of the pairs. A row that is done with the same configuration is not run again, so the
table can be stopped and continued; after a change of code delete the folder. R@1 in %, over the corpus's test videos,
both ways; hard-negative accuracy in % by kind (chance: 50); cost is the processor time of a whole run, a multiple of
the paper's (or the first row's), which other load hardly moves.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import yaml

from dmae.modeling import adaptive_mask
from dmae.modeling.loading import load_pretrained
from dmae.training.config import load_config
from dmae.training.corpora import load_samples
from dmae.training.evaluation.evaluation import encode_samples
from dmae.training.tracking import read_metrics

CONFIGS = Path(__file__).parents[1] / "training" / "configs" / "ablation"
ROWS = (
    "mean_pooling",
    "token_interaction",
    "visual_attention",
    "textual_attention",
    "negnce",
    "tpm_linear",
    "tpm_attention",
    "paper",
    "paper_margin",
    "paper_scale",
    "scale_and_margin",
    "mask_crossing",
    "infonce_scale",
    "caption_edits",
    "edits_infonce",
    "edits_tpm",
)
HARD = "hard_negative_accuracy"
COLUMNS = {
    "t2v R@1": "t2v_R@1",
    "v2t R@1": "v2t_R@1",
    "hard": HARD,
    **{kind: f"{HARD}/{kind}" for kind in ("colour", "size", "shape", "motion", "order")},
}
DMAE = (sys.executable, "-m", "dmae.cli")


def prepare(root: Path, options: argparse.Namespace) -> None:
    """The corpus and the towers, where they are not there yet."""
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    corpus, towers = root / "corpus", root / "towers"
    counts = ["--train", str(options.train), "--test", str(options.test)]
    subprocess.run([*DMAE, "synthetic", str(corpus), *counts], **quiet)
    if not (towers / "model.safetensors").exists():
        start = [str(towers), "--captions", str(corpus), "--stills", "1500", "--temporal-layers", "0"]
        subprocess.run([*DMAE, "init", *start], **quiet)


def run_row(root: Path, row: str, seed: int, options: argparse.Namespace) -> dict:
    """Metrics of one training run, and its "processor_seconds"; taken from its folder where it is done."""
    folder = root / "runs" / f"{row}-{seed}"
    result = folder / "ablation.json"
    places = [f"model={root / 'towers'}", f"dataset={root / 'corpus'}", f"output_dir={folder}", f"seed={seed}"]
    wanted = load_config(CONFIGS / f"{row}.yaml", [*places, *options.set])
    if not result.exists() or load_config(folder / "train_config.yaml") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        # One thread each: several runs side by side use the cores better than one run does.
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        command = [*DMAE, "train", str(CONFIGS / f"{row}.yaml"), *places, *options.set]
        processor_seconds = run_alone(command, environment, f"{row}, seed {seed}")
        records = read_metrics(folder / "metrics.jsonl")
        metrics = next(record for record in reversed(records) if COLUMNS["t2v R@1"] in record)
        result.write_text(json.dumps({**metrics, "processor_seconds": processor_seconds}))
    return json.loads(result.read_text())


def run_alone(command: list[str], environment: dict, name: str) -> float:
    """Runs a command to its end; returns the processor time, in seconds, of it and its workers."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)  # not communicate(), which would discard the usage
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{name}: {(errors.read().strip().splitlines() or ['no message'])[-1]}")
    return usage.ru_utime + usage.ru_stime


def run_table(options: argparse.Namespace) -> dict[str, list[dict]]:
    root = Path(options.output)
    prepare(root, options)
    jobs = [(row, seed) for seed in options.seeds for row in options.rows]
    with ThreadPoolExecutor(options.processes) as pool:
        found = list(pool.map(lambda job: run_row(root, job[0], job[1], options), jobs))
    table = {row: [] for row in options.rows}
    for (row, _), metrics in zip(jobs, found):
        table[row].append(metrics)
    return table


def print_table(table: dict[str, list[dict]]) -> None:
    print(f"| row | {' | '.join(COLUMNS)} | cost |")
    print(f"| --- {'| --- ' * len(COLUMNS)}| --- |")
    unit = cost(table.get("paper") or next(iter(table.values())))
    for row, runs in table.items():
        cells = [spread([run[name] for run in runs]) for name in COLUMNS.values()]
        print(f"| {row} | {' | '.join(cells)} | {cost(runs) / unit:.2f} |")


def cost(runs: list[dict]) -> float:
    return statistics.mean(run["processor_seconds"] for run in runs)


def spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def masked(folder: str) -> None:
    """What TPM-CL masks out of the test captions and videos, and how far apart whole and masked come to lie."""
    model, processor = load_pretrained(folder)
    if model.config.tpm_predictor is None:
        raise SystemExit(f"{folder} was trained without TPM-CL")
    settings = yaml.safe_load((Path(folder) / "train_config.yaml").read_text())
    samples = load_samples(settings["dataset"], "test")
    video = encode_samples(model.eval(), processor, samples, progress=False).video
    inputs = processor(text=[s.captions[0] for s in samples], padding="max_length", return_tensors="pt")
    with torch.no_grad():
        text = model.get_text_features(**inputs)
        real = (text.word_weights > 0).float()
        word_weights = model.word_predictor(video.frame_embeds, text.word_embeds, real)
        frame_weights = model.frame_predictor(text.sentence_embeds[:, None], video.frame_embeds, video.frame_mask)
    threshold, crossing = model.config.tpm_threshold, model.config.tpm_mask_crossing
    words = real.bool() & ~adaptive_mask(word_weights, threshold, crossing=crossing)
    frames = ~adaptive_mask(frame_weights, threshold, crossing=crossing)
    print(f"masked: {words.sum() / real.sum():.0%} of words, {frames.float().mean():.0%} of frames")
    print("frames masked, by position:", " ".join(f"{share:.0%}" for share in frames.float().mean(dim=0)))
    tokens = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"].flatten().tolist())
    hidden, seen = Counter(), Counter()
    for token, is_real, is_hidden in zip(tokens, real.flatten().tolist(), words.flatten().tolist()):
        seen[token] += bool(is_real)
        hidden[token] += is_hidden
    shares = {token: hidden[token] / count for token, count in seen.items() if count >= 20}
    print(
        "words masked:",
        ", ".join(f"{t} {shares[t]:.0%}" for t in sorted(shares, key=lambda t: shares[t], reverse=True)),
    )
    whole, part = (
        _pooled_similarity(text.sentence_embeds, video.frame_embeds * kept[:, :, None])
        for kept in (torch.ones_like(frames), ~frames)
    )
    low, middle, high = (whole - part).quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    print(
        f"sim(s, y) - sim(s, y'), 5 / 50 / 95 %: {low:.3f} / {middle:.3f} / {high:.3f}; μ is {model.config.tpm_margin}"
    )


def _pooled_similarity(sentence: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """The row similarity of method.md, best and mean frame averaged."""
    scores = (frames @ sentence[:, :, None]).squeeze(2)
    return (scores.amax(dim=1) + scores.mean(dim=1)) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="runs/ablation", help="keeps corpus, towers and runs")
    parser.add_argument("--rows", nargs="+", default=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--set", nargs="+", default=(), metavar="KEY=VALUE", help="overrides for every row's config")
    parser.add_argument("--train", type=int, default=3000, help="training videos")
    parser.add_argument("--test", type=int, default=500, help="test videos")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs side by side")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--masked", metavar="MODEL", help="show what TPM-CL masks in this model, and stop")
    options = parser.parse_args()
    if options.masked:
        return masked(options.masked)
    table = run_table(options)
    print_table(table)
    (Path(options.output) / "table.json").write_text(json.dumps(table, indent=1))
    runs = [run for runs in table.values() for run in runs]
    print(f"\n{len(runs)} runs, {len(runs) * cost(runs) / 60:.0f} minutes of processor time in all")


if __name__ == "__main__":
    main()
