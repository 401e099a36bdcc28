"""A model card written from a training run: what the model was trained on, how well it does, and how to make it again.

The card names its repository `REPO_PLACEHOLDER` until the model is pushed.
"""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import yaml
from huggingface_hub import EvalResult, ModelCardData

from dmae.modeling import DmaeConfig
from dmae.modeling.encoders import ENCODERS, picture_size

from ..config import TrainConfig, keys_with
from ..corpora.benchmarks import BENCHMARKS
from ..corpora.loading import REPO_ID
from ..evaluation.measures import COLUMNS, DIRECTIONS, RANKINGS, notes_on
from ..tracking import PLOT_FILE

REPO_PLACEHOLDER = "YOUR_NAME/YOUR_MODEL"
PACKAGES = ("dmae-video-search", "torch", "transformers", "accelerate", "datasets", "huggingface_hub", "av")
TAGS = ["text-video-retrieval", "video-search", "dmae"]


@dataclass(frozen=True)
class TrainingRun:
    """What a run knows at its end.

    config: what it was started with. metrics: as `evaluate_model` gives them, percent and ranks; without an
    evaluation the last losses. steps: optimizer steps. seconds: wall-clock time. processes: how many trained together.
    test_metrics: of the kept model on `config.test_split`, which did not choose it.
    """

    config: TrainConfig
    metrics: dict[str, float]
    steps: int
    seconds: float
    processes: int = 1
    test_metrics: dict[str, float] | None = None

    @property
    def reported(self) -> dict[str, float]:
        return self.metrics if self.test_metrics is None else self.test_metrics

    @property
    def reported_split(self) -> str | None:
        return self.config.eval_split if self.test_metrics is None else self.config.test_split

    @property
    def dataset(self) -> str:
        return _title_of(self.config.dataset)

    @property
    def eval_dataset(self) -> str:
        return _title_of(self.config.eval_dataset or self.config.dataset)

    @property
    def eval_type(self) -> str:
        """The evaluation data as the Hub knows it: an id where it was read from there, else a name."""
        config = self.config
        source = config.eval_dataset or config.dataset
        from_files = config.eval_dataset is None and (config.videos or config.annotations)
        return BENCHMARKS[source].hub_id if source in BENCHMARKS and not from_files else public_name(source)

    @property
    def base_model(self) -> str | None:
        """The Hub id of the model it started from."""
        start = self.config.model or self.config.encoder or self.config.clip
        return start if start and not Path(start).expanduser().exists() else None

    @property
    def command(self) -> str:
        """What makes the model again, from the configuration that lies beside it."""
        if self.processes == 1:
            return "dmae train train_config.yaml"
        return f"accelerate launch --num_processes {self.processes} -m dmae.cli train train_config.yaml"


def save_model_card(model_dir: str | os.PathLike, config: DmaeConfig, run: TrainingRun | None = None) -> Path:
    """Writes `README.md` into a model's folder; without a run it tells only what the model is."""
    path = Path(model_dir) / "README.md"
    path.write_text(model_card(config, run), encoding="utf-8")
    return path


def model_card(config: DmaeConfig, run: TrainingRun | None = None) -> str:
    """The card as markdown with the Hub's YAML head, `model-index` included."""
    sections = [
        f"---\n{_metadata(config, run).to_yaml()}\n---",
        "# DMAE text-video retrieval model",
        _what(config, run),
        _USE,
    ]
    if run is not None:
        sections += [_evaluation(run)] if "t2v_R@1" in run.reported else []
        sections += [_training(run)]
    sections += [_versions(), _limits(config), _LICENCE, _METHOD]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def public_name(source: str) -> str:
    """A dataset or model as others may know it: a local folder by its name alone."""
    folder = Path(source).expanduser()
    return folder.name if folder.is_absolute() or folder.exists() else source


def public_settings(config: TrainConfig) -> dict:
    """What differs from the defaults, with names in place of this machine's paths."""
    values = config.changes()
    for name in keys_with("path"):
        if values.get(name):
            values[name] = public_name(values[name])
    return values


def _title_of(source: str) -> str:
    return BENCHMARKS[source].title if source in BENCHMARKS else public_name(source)


def _metadata(config: DmaeConfig, run: TrainingRun | None) -> ModelCardData:
    facts = {"library_name": "transformers", "pipeline_tag": "feature-extraction", "tags": [*TAGS, config.encoder]}
    if run is None:
        return ModelCardData(**facts)
    return ModelCardData(
        **facts,
        base_model=run.base_model,
        datasets=[run.config.dataset] if _is_hub_id(run.config.dataset) else None,
        model_name=REPO_PLACEHOLDER.split("/")[1],
        eval_results=_eval_results(run) or None,
    )


def _is_hub_id(source: str) -> bool:
    return REPO_ID.fullmatch(source) is not None and source == public_name(source)


def _eval_results(run: TrainingRun) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="text-video-retrieval",
            task_name="Text-video retrieval",
            dataset_type=run.eval_type,
            dataset_name=run.eval_dataset,
            dataset_split=run.reported_split,
            metric_type=name,
            metric_name=_title(name),
            metric_value=round(float(value), 2),
        )
        for name, value in run.reported.items()
        if _is_result(name)
    ]


def _is_result(name: str) -> bool:
    return "_R@" in name or name.endswith(("_MdR", "_MnR")) or name.startswith("hard_negative_accuracy")


def _title(name: str) -> str:
    """ "t2v_R@1" as "text to video R@1", "hard_negative_accuracy/order" as "hard negative accuracy, order"."""
    for short, words in DIRECTIONS.items():
        name = name.replace(f"{short}_", f"{words} ")
    return name.replace("hard_negative_accuracy/", "hard negative accuracy, ").replace("_", " ")


def _what(config: DmaeConfig, run: TrainingRun | None) -> str:
    encoder = ENCODERS[config.encoder]
    height, width = picture_size(encoder, config.vision_config)
    losses = ["NegNCE" if config.loss == "negnce" else "InfoNCE"]
    if config.tpm_predictor:
        losses.append("triplet partial margin contrastive learning (TPM-CL)")
    text = (
        f"A text-video search model: {encoder.title} towers compared by dual-modal attention-enhanced similarity "
        f"(DMAE) and trained with {' and '.join(losses)}, [arXiv:2309.11082]"
        f"(https://arxiv.org/abs/2309.11082). Videos are read as {config.num_frames} frames of {height} × "
        f"{width} pixels (patches of {config.vision_config.patch_size}), texts as at most {config.max_words} tokens; "
        f"embeddings have {config.projection_dim} dimensions."
    )
    if run is not None:
        start = f"`{run.base_model}`" if run.base_model else "random weights" if run.config.model_config else None
        text += f" Trained on {run.dataset}" + (f", starting from {start}." if start else ".")
    return text


_USE = f"""
## Use

```python
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{REPO_PLACEHOLDER}", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("{REPO_PLACEHOLDER}", trust_remote_code=True)

inputs = processor(text=["a dog on a skateboard"], videos=["a.mp4", "b.mp4"], return_tensors="pt")
scores = model(**inputs).logits_per_text  # (texts, videos): higher fits better
```

It needs torch, transformers and av. To search a folder, install the package (`pip install .` in its repository):
`dmae index VIDEOS --model {REPO_PLACEHOLDER} --index INDEX` and
`dmae search "a dog on a skateboard" --model {REPO_PLACEHOLDER} --index INDEX`.

It is made for ranking videos by a sentence and sentences by a video, and for finding the moment that fits best. It is
not made for deciding anything about a person, nor for telling who somebody is.
"""


def _evaluation(run: TrainingRun) -> str:
    metrics = run.reported
    counts = f"{metrics['num_videos']} videos and {metrics['num_texts']} texts" if "num_videos" in metrics else "data"
    rows = [
        f"| {words}{ranking} | "
        + " | ".join(f"{metrics[f'{prefix}{short}_{column}']:.1f}" for column in COLUMNS)
        + " |"
        for prefix, ranking in RANKINGS.items()
        for short, words in DIRECTIONS.items()
        if f"{prefix}{short}_R@1" in metrics
    ]
    table = ["| search | " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS), *rows]
    text = (
        f"## Evaluation\n\nOn {run.eval_dataset}, split `{run.reported_split}`: {counts}. Recalls in percent. "
        f"{_choice(run)}\n\n"
    )
    text += "\n".join(table)
    text += "".join(f"\n\n{note[0].upper()}{note[1:]}." for note in notes_on(metrics))
    accuracies = [
        f"| {name.partition('/')[2] or 'all'} | {value:.1f} |"
        for name, value in metrics.items()
        if name.startswith("hard_negative_accuracy")
    ]
    if accuracies:
        text += "\n\nHow often the right caption scores above one that is wrong in one respect:\n\n"
        text += "\n".join(["| wrong in | accuracy % |", "| --- | ---: |", *accuracies])
    return text


def _choice(run: TrainingRun) -> str:
    """Which split the checkpoint was chosen by: on that one, figures are too good."""
    config = run.config
    if run.test_metrics is not None:
        if config.eval_split is None:
            return "The last checkpoint was measured."
        value = run.metrics[config.best_metric]
        return (
            f"The checkpoint was chosen on split `{config.eval_split}`, by {config.best_metric} ({value:.1f} there); "
            "this split was measured once, when all was done."
        )
    if config.eval_every == -1:
        return "It was measured once, when all was done."
    return (
        f"The checkpoint was chosen among those of the run by {config.best_metric} on this same split, which makes "
        "the figures somewhat too good; the published codes of this field do the same."
    )


def _training(run: TrainingRun) -> str:
    settings = yaml.safe_dump(public_settings(run.config), sort_keys=False, allow_unicode=True).strip()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    many = f"{run.processes} processes" if run.processes > 1 else "one process"
    return (
        f"## Training\n\nData: {run.dataset}, split `{run.config.train_split}`. Compute: {run.steps} steps in "
        f"{run.seconds:.0f} s, {many} on {device}. Made again by\n\n"
        f"```bash\n{run.command}\n```\n\nwith these settings; the rest are the defaults of `dmae`:\n\n"
        f"```yaml\n{settings}\n```\n\n![Loss and R@1 over the run]({PLOT_FILE})"
    )


def _versions() -> str:
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout
            continue
    return "## Versions\n\n" + ", ".join(f"{name} {number}" for name, number in found.items())


def _limits(config: DmaeConfig) -> str:
    order = (
        "A frame transformer sees the order of frames; whether it learned to use it, hard negatives in motion and "
        "order tell."
        if config.temporal_layers
        else "Without a frame transformer the order of frames changes no score: a door that opens and one that closes "
        "look alike."
    )
    return (
        f"## Limits and biases\n\n{config.num_frames} frames of a video are looked at: what happens between two of "
        f"them may not be seen. {order} Sound is not used. Texts beyond {config.max_words} tokens are cut. Weights "
        f"that began as {ENCODERS[config.encoder].title}'s carry the biases of its training data, and captions those "
        "of whoever wrote them."
    )


_LICENCE = """
## Licence

The code is under Apache-2.0. The weights are also under the terms of the checkpoint that they began as and of the
data that they were trained on.
"""

_METHOD = """
## Method and citation

Each word is compared with its best frame and each frame with its best word. *Visual attention* adds to each best frame
its nearest neighbour in the video, *textual attention* averages the score of the sentence with that of its words. In
training, NegNCE pushes away the negatives that outrank a positive, and TPM-CL ranks each pair above the same pair with
its most telling words or frames masked out.

The code that the authors released is a PVT image backbone with BERT; the paper's figures were made on TS2-Net's code
with CLIP, says its author (issue 7 there). This implementation is a third one: `docs/fidelity.md` in its repository
lists the choices of all side by side.

```bibtex
@inproceedings{jiang2023dmae,
  title = {Dual-Modal Attention-Enhanced Text-Video Retrieval with Triplet Partial Margin Contrastive Learning},
  author = {Jiang, Chen and others},
  booktitle = {Proceedings of the 31st ACM International Conference on Multimedia},
  year = {2023},
  note = {arXiv:2309.11082}
}
```
"""
