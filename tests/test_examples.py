"""The scripts that users copy, on tiny models and a stand-in of the Hub."""

from importlib.util import module_from_spec, spec_from_file_location

import pytest
from hub_server import HubServer
from places import ROOT
from training_parts import save_tiny_model

from dmae.cli import main as dmae


def run(name: str, *arguments: object) -> None:
    spec = spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples") / "corpus"
    assert dmae(["synthetic", str(folder), "--train", "6", "--test", "4"]) == 0
    return folder


@pytest.fixture(scope="module")
def model(corpus):
    return save_tiny_model(corpus.parent / "model", corpus)


@pytest.fixture(scope="module")
def index(corpus, model):
    return corpus.parent / "clips.index"


def test_every_example_is_tested():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == {"search_folder", "fine_tune", "publish"}


def test_a_folder_is_searched_and_searched_again(corpus, model, index, capsys):
    for new in (4, 0):
        run("search_folder", corpus / "test", "a red star", "--model", model, "--index", index)
        printed = capsys.readouterr().out
        assert printed.startswith(f"4 videos, {new} of them new") and printed.count(".mp4  at ") == 4


def test_a_model_is_fine_tuned_on_clips(corpus, model, tmp_path, capsys):
    output = tmp_path / "run"
    run("fine_tune", corpus, output, "--model", model, "--epochs", 1, "--batch-size", 4)
    assert (output / "model.safetensors").is_file()
    printed = capsys.readouterr().out
    assert "before" in printed and "t2v_R@1" in printed


def test_a_model_an_index_and_a_space_are_published(corpus, model, index, tmp_path, monkeypatch, capsys):
    run("search_folder", corpus / "test", "a red star", "--model", model, "--index", index)
    with HubServer() as hub:
        hub.add_token("hf_owner", "owner")
        hub.redirect(monkeypatch, tmp_path, token="hf_owner")
        run("publish", model, index, "owner/clips")
    printed = capsys.readouterr().out
    assert "owner/clips-index" in printed and "owner/clips-search" in printed
