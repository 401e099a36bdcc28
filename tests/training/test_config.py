import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from benchmark_modules import load_benchmark
from places import ROOT

from dmae.cli import main
from dmae.modeling import DmaeConfig
from dmae.training.config import ConfigError, TrainConfig, config_from_dict, keys_with, load_config, save_config
from dmae.training.config_help import page, terminal_help
from dmae.training.corpora.benchmarks import BENCHMARKS
from dmae.training.initialisation import checked_options

RECIPES = ROOT / "training" / "configs"


def test_file_and_overrides(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("model: m\ndataset: d\nclip_learning_rate: 1e-6\nmodel_options: {loss: infonce}\n")
    config = load_config(
        path, ["batch_size=16", "learning_rate=3e-4", "model_options.neighbor_weight=0.2", "eval_split=null"]
    )
    assert (config.batch_size, config.eval_split) == (16, None)
    # YAML 1.1 reads 1e-6 as a text
    assert (config.clip_learning_rate, config.learning_rate) == (1e-6, 3e-4)
    assert config.model_options == {"loss": "infonce", "neighbor_weight": 0.2}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("btch_size=3", "did you mean 'batch_size'"),
        ("zzzz=3", "unknown key 'zzzz'.*there is model, "),
        ("batch_size=many", "batch_size='many': it must be a int"),
        ("batch_size=2.5", "batch_size=2.5"),
        ("batch_size=true", "batch_size=True"),
        ("streaming=3", "streaming=3: it must be a bool"),
        ("epoch_over=words", "epoch_over='words': it must be one of captions, videos"),
        ("batch_size", "key=value"),
        ("model_options.a.b=1", None),
        ("trackers=[", "no YAML"),
    ],
)
def test_refused(override, said):
    if said is None:
        assert load_config(None, [override]).model_options == {"a": {"b": 1}}
        return
    with pytest.raises(ConfigError, match=said) as error:
        load_config(None, [override])
    assert "\n" not in str(error.value)


def test_a_home_folder_is_found_without_a_shell():
    config = load_config(None, ["output_dir=~/runs/mine", "cache_frames=none"])
    assert config.output_dir == str(Path.home() / "runs" / "mine") and config.cache_frames == "none"


def test_bare_no_is_a_precision():
    assert load_config(None, ["mixed_precision=no"]).mixed_precision == "no"


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [\n", "just words"])
def test_file_that_is_no_mapping(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_config(tmp_path / "bad.yaml")


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml does not exist"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dataset": "d"}, "exactly one of model="),
        ({"dataset": "d", "model": "m", "clip": "c"}, "exactly one of model="),
        ({"dataset": "d", "encoder": "e", "clip": "c"}, "exactly one of model="),
        ({"dataset": "d", "encoder": "e", "lora": {"r": 2}, "freeze_clip": True}, "lora trains adapters"),
        ({"dataset": "d", "model_config": {}}, "give tokenizer="),
        ({"model": "m"}, "dataset is missing"),
        ({"model": "m", "dataset": "d", "batch_size": 1}, r"batch_size=1 must be at least 2 \(pairs"),
        ({"model": "m", "dataset": "d", "streaming": True}, "needs max_steps"),
        ({"model": "m", "dataset": "d", "push_to_hub": True}, "needs hub_model_id"),
        ({"model": "m", "dataset": "d", "epochs": 0}, "epochs=0"),
        ({"model": "m", "dataset": "d", "random_frames": True}, "needs cache_frames="),
        ({"model": "m", "dataset": "d", "tokenizer": "t"}, "tokenizer goes with model_config"),
        ({"model": "m", "dataset": "d", "keep_checkpoints": 0}, "keep_checkpoints=0 must be at least 1"),
        ({"model": "m", "dataset": "d", "checkpoint_every": -1}, "checkpoint_every=-1 must be at least 0"),
        ({"model": "m", "dataset": "d", "learning_rate": float("nan")}, "learning_rate=nan must be at least 0"),
        ({"model": "m", "dataset": "d", "warmup_ratio": 10}, r"warmup_ratio=10.0 must be from 0 to 1"),
        ({"model": "m", "dataset": "d", "best_metric": "R@1"}, "best_metric=R@1 is not measured: it must be t2v_"),
    ],
)
def test_settings_that_cannot_work_together(values, said):
    with pytest.raises(ConfigError, match=said):
        config_from_dict(values).check()


def test_saved_config_makes_the_same_run(tmp_path):
    config = TrainConfig(model="m", dataset="d", learning_rate=1e-5, model_options={"loss": "infonce"}, max_steps=3)
    save_config(config, tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml") == config


@pytest.mark.parametrize("dataset", ["msrvtt", "msvd", "didemo", "activitynet"])
@pytest.mark.parametrize("backbone", ["b32", "b16"])
def test_recipes_are_the_papers(dataset, backbone):
    config = load_config(RECIPES / f"{dataset}_vit_{backbone}.yaml")
    config.check()
    long = dataset in ("didemo", "activitynet")
    assert config.dataset == dataset and config.clip == f"openai/clip-vit-base-patch{backbone[1:]}"
    assert (config.num_frames, config.max_words) == ((64, 64) if long else (12, 32))
    assert (config.batch_size, config.epochs, config.weight_decay) == (128, 5, 0.2)
    assert (config.clip_learning_rate, config.learning_rate) == (1e-7, 1e-4)
    assert (config.adam_beta1, config.adam_beta2, config.adam_epsilon) == (0.9, 0.98, 1e-6)
    assert (config.warmup_ratio, config.max_grad_norm, config.sampling) == (0.1, 1.0, "per_second")
    protocol = BENCHMARKS[dataset].protocol
    assert (config.num_frames, config.max_words, config.sampling) == (
        *(protocol.num_frames, protocol.max_words),
        protocol.sampling,
    )
    chosen = {"msrvtt": ("test", None), "activitynet": ("val", None)}
    assert (config.eval_split, config.test_split) == chosen.get(dataset, ("val", "test"))
    assert (config.word_weighting, config.word_dropping, config.sentence_order) == ("pos", True, "file")
    model = DmaeConfig(num_frames=config.num_frames, max_words=config.max_words, **config.model_options)
    assert (model.negative_weight, model.neighbor_weight, model.tpm_threshold, model.tpm_margin) == (
        0.5,
        0.5,
        0.6,
        0.6,
    )
    assert (model.logit_scale, model.tpm_predictor, model.loss, model.token_shift) == (100, "linear", "negnce", True)
    written = {"neighbor_weight", "logit_scale", "negative_weight", "tpm_threshold", "tpm_margin"}
    assert written <= set(config.model_options)  # in the recipe, not only in the defaults


def test_the_ablation_and_what_it_recommends():
    rows = sorted((RECIPES / "ablation").glob("*.yaml"))
    configs = {path.stem: load_config(path) for path in rows}
    for config in configs.values():
        config.check()
        DmaeConfig(**config.model_options)
    # Rows differ from what they share in the method alone: the script sets rates and steps.
    shared = configs.pop("common").to_dict()
    report = load_benchmark("ablation_report")
    assert configs.keys() == {*report.ROWS, *report.PARTS}
    for name, config in configs.items():
        different = {key for key, value in config.to_dict().items() if value != shared[key]}
        assert different <= {"model_options", "caption_edits", "event_twins", "word_dropping"}, name
    recommended = load_config(RECIPES / "recommended.yaml", ["clip=c", "dataset=d"])
    recommended.check()
    best = configs["ours"]
    for name in ("caption_edits", "event_twins"):
        assert getattr(recommended, name) == getattr(best, name)
    for name in ("loss", "tpm_predictor", "learn_logit_scale", "logit_scale", "frame_differences"):
        assert recommended.model_options[name] == best.model_options[name]


@pytest.mark.parametrize("name", ["one_gpu", "eight_gpus", "multi_node", "fsdp"])
def test_launch_examples_are_read_by_accelerate(name):
    from accelerate.commands.config.config_args import load_config_from_file

    path = RECIPES / "accelerate" / f"{name}.yaml"
    loaded = load_config_from_file(str(path))
    assert loaded.num_processes == yaml.safe_load(path.read_text())["num_processes"]


def test_a_file_that_extends_another_says_only_what_differs(tmp_path):
    (tmp_path / "base.yaml").write_text("dataset: clips\nepochs: 3\nmodel_options: {loss: infonce, tpm_margin: 0.1}\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nepochs: 7\nmodel_options: {loss: negnce}\n")
    config = load_config(tmp_path / "mine.yaml", ["model_options.tpm_margin=0.2"])
    assert (config.dataset, config.epochs) == ("clips", 7)
    assert config.model_options == {"loss": "negnce", "tpm_margin": 0.2}
    (tmp_path / "base.yaml").write_text("extends: mine.yaml\n")
    with pytest.raises(ConfigError, match="extends itself"):
        load_config(tmp_path / "mine.yaml")
    (tmp_path / "base.yaml").unlink()
    with pytest.raises(ConfigError, match=r"base\.yaml does not exist"):
        load_config(tmp_path / "mine.yaml")


def test_the_page_of_the_keys_is_current():
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == page(), "renew it: python -m dmae.training.config_help > docs/configuration.md"


def test_every_key_says_what_it_means():
    told = terminal_help()
    for item in fields(TrainConfig):
        assert item.metadata["help"], item.name
        assert re.search(rf"^  {item.name}\b", told, re.M), item.name


def test_the_help_of_train_lists_the_keys(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert "batch_size=128" in printed and "example: dmae train" in printed


def test_every_key_that_names_a_place_of_this_machine_is_known_as_one():
    assert {"model", "dataset", "videos", "annotations", "cache_frames", "output_dir", "resume"} <= set(
        keys_with("path")
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"neighbour_weight": 0.2}, "unknown key 'model_options.neighbour_weight'.*did you mean 'neighbor_weight'"),
        ({"neighbor_weight": "much"}, "model_options.neighbor_weight='much': it must be a float"),
        ({"temporal_layers": 2.5}, r"model_options.temporal_layers=2.5: it must be a int"),
    ],
)
def test_a_mistyped_option_of_the_model_is_told_rather_than_ignored(options, said):
    with pytest.raises(ConfigError, match=said):
        checked_options("model_options", options)


def test_options_of_the_model_are_read_as_the_keys_are():
    read = checked_options("model_options", {"neighbor_weight": "1e-1", "tpm_predictor": None, "revision": "main"})
    assert read == {"neighbor_weight": 0.1, "tpm_predictor": None, "revision": "main"}
