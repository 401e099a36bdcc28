"""What is the user's to put right is one line; a fault of ours shows where it is."""

import pickle

import pytest

from dmae import cli, errors
from dmae.modeling import DmaeModel, VideoDecodeError, load_pretrained, read_frames
from dmae.modeling.remote_videos import RemoteVideoError
from dmae.retrieval.commands import stats


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_of_the_project_is_a_dmae_error(name):
    assert issubclass(getattr(errors, name), errors.DmaeError)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (errors.VideoIndexError("no such index"), "no such index"),
        (OSError("disk\nfull"), "disk full"),
        (errors.VideoIndexError("no a\x1b[2J\u202e.mp4"), "no a\\u001b[2J\\u202e.mp4"),
    ],
)
def test_what_a_user_can_put_right_is_one_line(raised, said, monkeypatch, capsys):
    monkeypatch.setattr(stats, "run", _raising(raised))
    assert cli.main(["stats", "--index", "x"]) == 2
    assert capsys.readouterr().err == f"dmae stats: error: {said}\n"
    with pytest.raises(type(raised)):
        cli.main(["stats", "--index", "x", "--traceback"])


@pytest.mark.parametrize("fault", [ValueError, RuntimeError, KeyError, ImportError, TypeError])
def test_a_fault_of_ours_shows_its_traceback(fault, monkeypatch):
    monkeypatch.setattr(stats, "run", _raising(fault("a bug")))
    with pytest.raises(fault):
        cli.main(["stats", "--index", "x"])


def _raising(error):
    def run(args):
        raise error

    return run


def test_a_decoding_error_has_fields_and_travels_between_processes(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(VideoDecodeError) as caught:
        read_frames(tmp_path / "a.mp4")
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.source == str(tmp_path / "a.mp4") and error.reason.startswith("cannot be read as a video (")
    assert str(error) == f"{error.source}: {error.reason}"


def test_an_error_of_a_url_has_fields_and_travels_between_processes():
    error = pickle.loads(pickle.dumps(RemoteVideoError("s3://bucket/a.mp4", "there is no such file")))
    assert (error.source, error.reason) == ("s3://bucket/a.mp4", "there is no such file")
    assert str(error) == "s3://bucket/a.mp4: there is no such file" and isinstance(error, OSError)


def test_a_damaged_checkpoint_is_named_in_one_line(tmp_path):
    from training_parts import save_tiny_model, write_corpus

    folder = save_tiny_model(tmp_path / "model", write_corpus(tmp_path / "corpus"))
    for name in ("tokenizer.json", "model.safetensors", "config.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises((errors.ModelError, OSError), match=str(folder)) as caught:
            load_pretrained(folder)
        assert "\n" not in str(caught.value)
        (folder / name).write_bytes(whole)
    assert isinstance(load_pretrained(folder)[0], DmaeModel)
    (folder / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(errors.ModelError, match="nonsense"):
        load_pretrained(folder)
