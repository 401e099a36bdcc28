"""Which part of the method helps, under conditions like the paper's: from towers like CLIP, each row at its best.

    python benchmarks/ablation.py                      # all rows on both corpora, five seeds; goes on where it stopped
    python benchmarks/ablation.py --rows token_interaction ours --seeds 0 1 --set batch_size=64
    python benchmarks/ablation.py --rate 5e-4          # one learning rate and --steps for all rows, chosen for none
    python benchmarks/ablation.py --report             # the tables of what is there, nothing is trained
    python benchmarks/ablation.py --set mixed_precision=bf16 attn_implementation=eager    # half the time (AVX512-BF16)
    python benchmarks/ablation.py --rows ours ours_alpha_kept ours_no_differences ours_no_edits ours_no_twins
    python benchmarks/ablation.py --corpora unseen_forms --choices runs/ablation/choices.json --rows paper ours
    python benchmarks/ablation.py --output runs/small --size 48 --frames 6 --choices runs/ablation/choices.json …

Corpora: "scenes", drawn videos of two objects, and "near_duplicates", groups of four of these that differ in one
attribute, which also share batches; asked for by name "unseen_forms", whose test captions have forms of sentence that
no training caption has. All rows (training/configs/ablation) start from the same towers, trained on stills
until α has settled (`dmae init --stills`; their curve is printed), and at that α, as the paper starts at CLIP's. Each
row's learning rate is the best of four by the mean R@1 of both directions on the videos of another corpus, after a
whole run of a seed of its own; then its steps are doubled for as long as that adds a point there. Only the seed
changes new weights and the order of the pairs.

R@1 in %, over the corpus's test videos, both ways; hard-negative accuracy in % by kind (chance: 50); "cost" is the
processor time of a run, a multiple of the paper's. Differences to another row are paired by seed and by query, with
95 % intervals of a bootstrap over both; where 0 is inside, the difference cannot be told.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch
import transformers
from ablation_choices import Trials, best_choice, choose
from ablation_report import PARTS, ROWS, Outcome, print_curve, print_report, print_trials
from accelerate import Accelerator
from tqdm.auto import tqdm

from dmae.modeling import info_nce_loss
from dmae.modeling.encoding import Normalizer
from dmae.modeling.loading import load_pretrained
from dmae.training.batches.cache_settings import CacheSettings
from dmae.training.batches.collation import to_device
from dmae.training.batches.frames import write_frame_cache
from dmae.training.batches.loading import make_batches
from dmae.training.config import load_config
from dmae.training.corpora import load_samples
from dmae.training.evaluation.evaluation import encode_samples, hard_negative_outcomes, similarity_matrix
from dmae.training.initialisation import load_model
from dmae.training.loop import train
from dmae.training.synthetic.init import new_model
from dmae.training.synthetic.stills import train_towers, vocabulary
from dmae.training.synthetic.synthetic import write_corpus

CONFIGS = Path(__file__).parents[1] / "training" / "configs" / "ablation"
CORPORA = {"scenes": {}, "near_duplicates": {"group": 4}, "unseen_forms": {"unseen_forms": 2}}
CHOOSING_SEED = 100
CHOICES = "choices.json"
# Of the steps: wrong captions and twins cost more per step, and all rows shall cost the same.
SHARES = dict.fromkeys(["ours", *PARTS], 0.85)


def prepare(root: Path, options: argparse.Namespace) -> None:
    """Corpora, their frames, and the towers, where they are not there yet."""
    for name in options.corpora:
        sizes = {"size": options.size, "progress": False, **CORPORA[name]}
        write_corpus(root / name, num_train=options.train, num_test=options.test, **sizes)
        write_corpus(root / f"{name}-validation", num_train=4, num_test=options.test, seed=1, **sizes)
        settings = CacheSettings(options.frames, 1, options.size)
        write_frame_cache(load_samples(str(root / name), "train"), root / f"{name}-frames", settings, progress=False)
    towers = root / "towers"
    if not (towers / "stills.jsonl").exists():
        samples = load_samples(str(root / options.corpora[0]), "train")
        captions = [caption for sample in samples for caption in sample.captions]
        model, processor = new_model(
            [*captions, *vocabulary()], temporal_layers=0, image_size=options.size, num_frames=options.frames
        )
        records = train_towers(model, processor, options.stills)
        model.save_pretrained(towers)
        processor.save_pretrained(towers)
        (towers / "stills.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def outcome(root: Path, corpus: str, row: str, rate: float, seed: int, steps: int, options) -> Outcome:
    """What a run ranks right, by query; read where the same run was done before."""
    validating = seed == CHOOSING_SEED
    folder = run_folder(root, corpus, row, rate, seed, steps)
    settings = {
        **{"model": root / "towers", "dataset": root / corpus, "cache_frames": root / f"{corpus}-frames"},
        **{"output_dir": folder, "seed": seed, "consecutive": CORPORA[corpus].get("group", 1)},
        **{"clip_learning_rate": rate, "learning_rate": 2 * rate, "max_steps": round(SHARES.get(row, 1) * steps)},
    }
    overrides = [f"{name}={value}" for name, value in settings.items()]
    config = load_config(CONFIGS / f"{row}.yaml", [*overrides, *options.set])
    key = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()
    result = outcome_file(folder)
    if result.exists() and (kept := json.loads(result.read_text()))["key"] == key:
        return Outcome(**kept["outcome"])
    shutil.rmtree(folder, ignore_errors=True)
    before = processor_seconds()
    train(config)
    seconds = processor_seconds() - before
    measured = root / (f"{corpus}-validation" if validating else corpus)
    model, processor = load_pretrained(folder)
    found = measure(model, processor, load_samples(str(measured), "test"), seconds)
    shutil.rmtree(folder)  # sixteen megabytes each
    result.write_text(json.dumps({"key": key, "outcome": found._asdict()}))
    return found


def run_folder(root: Path, corpus: str, row: str, rate: float, seed: int, steps: int) -> Path:
    return root / "runs" / f"{corpus}-{row}-{rate:g}-{seed}-{steps}"


def outcome_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")  # with_suffix() would cut the rate off


def measure(model, processor, samples: list, seconds: float) -> Outcome:
    encoded = encode_samples(model, processor, samples, workers=0, batch_size=64, progress=False)
    assert encoded.text is not None  # this process has all texts
    scores = similarity_matrix(model, encoded.text, encoded.video, progress=False)
    own = torch.arange(len(scores))
    hard: dict[str, list[int]] = {}
    for kind, right in hard_negative_outcomes(model, processor, encoded):
        hard.setdefault(kind, []).append(int(right))
    to_video, to_text = ((part.argmax(dim=1) == own).int().tolist() for part in (scores, scores.t()))
    return Outcome(to_video, to_text, hard, seconds)


def processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def start_worker() -> None:
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()


def run_all(root: Path, options: argparse.Namespace) -> None:
    """All runs, those of the first seeds first, so that a table of what is there can be made at any time."""
    cells = [(corpus, row) for corpus in options.corpora for row in options.rows]
    # Spawned: a fork would copy this process's threads. One thread each: two runs side by side use two cores better.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, spawn, initializer=start_worker) as pool:

        def start(cell: tuple[str, str], rate: float, steps: int, seed: int = CHOOSING_SEED):
            return pool.submit(outcome, root, *cell, rate, seed, steps, options)

        def run(trials: dict, title: str) -> None:
            for job in tqdm(as_completed(trials), total=len(trials), desc=title, unit="run"):
                job.result()

        choices = dict(read_choices(root, options)) if options.rate or options.choices else {}
        if not choices:
            choices = choose(cells, options.steps, options.longest, start, run)
            file = root / CHOICES
            others = json.loads(file.read_text()) if file.exists() else {}
            file.write_text(json.dumps(others | choices, indent=1))
        best = {cell: best_choice(trials_of(choices, *cell)) for cell in cells}
        run({start(cell, *best[cell], seed): cell for seed in options.seeds for cell in cells}, "seeds")


def read_choices(root: Path, options: argparse.Namespace) -> dict[str, Trials]:
    """By corpus and row, what was tried; one trial where the caller chose."""
    if options.rate:
        one: Trials = {str(options.steps): {str(options.rate): 0.0}}
        return {f"{corpus} {row}": one for corpus in options.corpora for row in options.rows}
    return json.loads((options.choices or root / CHOICES).read_text())


def trials_of(choices: dict[str, Trials], corpus: str, row: str) -> Trials:
    """Those of the same row on the first corpus where the table that they come from has not this one."""
    found = choices.get(f"{corpus} {row}") or choices.get(f"scenes {row}")
    if found is None:
        raise SystemExit(f"--choices: no rate was chosen there for the row {row}")
    return found


def read_outcomes(root: Path, options: argparse.Namespace) -> dict[str, dict[str, dict[int, Outcome]]]:
    """What is there, by corpus, row and seed."""
    choices = read_choices(root, options)
    found: dict = {corpus: {row: {} for row in options.rows} for corpus in options.corpora}
    for corpus, rows in found.items():
        for row, seeds in rows.items():
            rate, steps = best_choice(trials_of(choices, corpus, row))
            for seed in options.seeds:
                file = outcome_file(run_folder(root, corpus, row, rate, seed, steps))
                if file.exists():
                    seeds[seed] = Outcome(**json.loads(file.read_text())["outcome"])
    return found


def first_losses(root: Path, corpus: str) -> dict[float, float]:
    """InfoNCE of a batch before the first step, by α: the towers' own, CLIP's and the one that they began with."""
    settings = {"model": root / "towers", "dataset": root / corpus, "cache_frames": root / f"{corpus}-frames"}
    config = load_config(CONFIGS / "token_interaction.yaml", [f"{name}={value}" for name, value in settings.items()])
    model, processor = load_model(config)
    batch = next(make_batches(config, processor, Accelerator(cpu=True)).epoch(0, 0))
    with torch.no_grad():
        output = model.eval()(**to_device(batch.inputs, model.device, Normalizer(processor.video_processor)))
    similarity = output.logits_per_text / model.scale
    return {scale: float(info_nce_loss(similarity, scale)) for scale in (model.config.logit_scale, 100.0, 20.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path("runs/ablation"), help="keeps corpora, towers and outcomes"
    )
    parser.add_argument("--corpora", nargs="+", default=["scenes", "near_duplicates"], choices=CORPORA)
    parser.add_argument(
        "--rows", nargs="+", default=list(ROWS), choices=ROWS | PARTS, metavar="ROW", help=", ".join(ROWS | PARTS)
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=400, help="of the shortest runs")
    parser.add_argument("--longest", type=int, default=800, metavar="STEPS", help="of the longest runs")
    parser.add_argument("--stills", type=int, default=2000, help="steps of the towers' own training")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for every row's config")
    parser.add_argument("--train", type=int, default=3000, help="training videos")
    parser.add_argument("--test", type=int, default=500, help="test videos, and as many to choose rates by")
    parser.add_argument("--size", type=int, default=64, help="side of the pictures, in pixels")
    parser.add_argument("--frames", type=int, default=4, help="frames per video")
    parser.add_argument("--rate", type=float, help="one learning rate of the towers for all rows: none is chosen")
    parser.add_argument("--choices", type=Path, metavar="FILE", help="take rates and steps from another table's")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs side by side")
    parser.add_argument("--report", action="store_true", help="print what is there, train nothing")
    options = parser.parse_args()
    root = options.output
    if options.report and not (root / "towers" / "stills.jsonl").exists():
        parser.error(f"--report: no towers and no runs in {root}; run without it first")
    if options.report or options.choices:
        try:
            read_choices(root, options)
        except (OSError, ValueError) as error:
            parser.error(f"rates and steps cannot be read ({error}): --choices takes the {CHOICES} of another table")
    if not options.report:
        prepare(root, options)
        run_all(root, options)
    print(
        "first batch of fine-tuning, loss at α:",
        *(f"{a:.1f}: {b:.2f}" for a, b in first_losses(root, options.corpora[0]).items()),
    )
    print_curve([json.loads(line) for line in (root / "towers" / "stills.jsonl").read_text().splitlines()])
    choices = read_choices(root, options)
    for corpus, rows in read_outcomes(root, options).items():
        trials = {row: trials_of(choices, corpus, row) for row in options.rows}
        if not options.rate:
            print_trials(corpus, trials)
        print_report(corpus, rows, {row: best_choice(own) for row, own in trials.items()})


if __name__ == "__main__":
    main()
