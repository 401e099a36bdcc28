"""Encoding and measuring a small corpus of real files, against the model called by hand."""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from datasets import Dataset
from places import CLIPS

from dmae.modeling import DmaeModel, DmaeProcessor, ModelError, encode_texts, read_frames
from dmae.training.commands import evaluate as command
from dmae.training.corpora import CorpusError, HardNegative, VideoSample, load_samples
from dmae.training.evaluation.evaluation import (
    encode_samples,
    evaluate_encoded,
    evaluate_model,
    hard_negative_accuracy,
    retrieval_metrics,
    similarity_matrix,
)
from dmae.training.evaluation.score_normalization import QueryBank, dual_softmax, softmax_prior
from dmae.training.synthetic.init import new_model

CAPTIONS = [
    ["a red clip", "a clip that is as red as a ripe tomato in the sun"],
    ["green"],
    ["a blue clip", "blue", "the blue one"],
    ["a grey clip"],
]


def write_video(path, colours, seconds=1):
    """Real mp4 files: `seconds` of each colour at 8 frames a second, with a gradient for structure."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8, width=48, height=32)
        stream.bit_rate = 400_000
        for colour in colours:
            frame = np.full((32, 48, 3), colour, np.uint8)
            frame[:, :24] //= 2
            for _ in range(8 * seconds):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for index, (colour, captions) in enumerate(
        zip([(220, 20, 20), (20, 220, 20), (20, 20, 220), (128, 128, 128)], CAPTIONS, strict=True)
    ):
        write_video(folder / f"{index}.mp4", [colour])
        rows.append({"video": f"{index}.mp4", "captions": captions})
    rows[0]["hard_negatives"] = [
        {"kind": "colour", "positive": "a red clip", "caption": "a blue clip"},
        {"kind": "colour", "positive": "a red clip", "caption": "green"},
        {"kind": "same", "positive": "a red clip", "caption": "a red clip"},
    ]
    rows[2]["hard_negatives"] = [{"kind": "colour", "positive": "blue", "caption": "a grey clip"}]
    (folder / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


@pytest.fixture(scope="module")
def samples(corpus):
    return load_samples(str(corpus), "test")


@pytest.fixture(scope="module")
def model_and_processor():
    captions = [caption for group in CAPTIONS for caption in group]
    model, processor = new_model(
        captions, image_size=32, patch_size=16, width=32, vision_layers=1, text_layers=1, num_frames=4
    )
    return model.eval(), processor


@pytest.fixture(scope="module")
def by_hand(model_and_processor, samples):
    """The similarity of every caption with every video, one text and one video at a time."""
    model, processor = model_and_processor
    with torch.no_grad():
        texts = [
            model.get_text_features(**processor(text=caption, return_tensors="pt"))
            for sample in samples
            for caption in sample.captions
        ]
        videos = [model.get_video_features(**processor(videos=s.video, return_tensors="pt")) for s in samples]
        return torch.tensor([[model.similarity(text, video).item() for video in videos] for text in texts])


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_encoding_agrees_with_the_model_called_by_hand(model_and_processor, samples, by_hand, batch_size):
    model, processor = model_and_processor
    encoded = encode_samples(model, processor, samples, batch_size=batch_size, progress=False)
    assert encoded.text_to_video.tolist() == [0, 0, 1, 2, 2, 2, 3]
    assert encoded.samples == samples and encoded.skipped == []
    similarity = similarity_matrix(model, encoded.text, encoded.video, chunk_size=batch_size, progress=False)
    torch.testing.assert_close(similarity, by_hand, atol=1e-5, rtol=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_videos_inside_a_dataset_are_the_same(model_and_processor, samples, by_hand, tmp_path, workers):
    """The bytes are read from the mapped file by the decoding processes."""
    model, processor = model_and_processor
    rows = [(sample, caption) for sample in samples for caption in sample.captions]
    columns = {
        "video": [{"path": s.video_id, "bytes": Path(s.video).read_bytes()} for s, _ in rows],
        "caption": [caption for _, caption in rows],
    }
    Dataset.from_dict(columns).to_parquet(tmp_path / "test.parquet")
    stored = load_samples(str(tmp_path), "test")
    encoded = encode_samples(model, processor, stored, workers=workers, progress=False)
    similarity = similarity_matrix(model, encoded.text, encoded.video, progress=False)
    torch.testing.assert_close(similarity, by_hand, atol=1e-5, rtol=0)


def test_a_stream_of_one_caption_a_row_is_the_same(model_and_processor, samples, by_hand):
    model, processor = model_and_processor
    rows = (replace(sample, captions=(caption,)) for sample in samples for caption in sample.captions)
    encoded = encode_samples(model, processor, rows, progress=False)
    assert encoded.text_to_video.tolist() == [0, 0, 1, 2, 2, 2, 3]
    similarity = similarity_matrix(model, encoded.text, encoded.video, progress=False)
    torch.testing.assert_close(similarity, by_hand, atol=1e-5, rtol=0)
    with pytest.raises(CorpusError, match="nothing to evaluate"):
        encode_samples(model, processor, iter(()), progress=False)


def test_each_video_is_encoded_once(model_and_processor, samples):
    model, processor = model_and_processor
    pictures = []
    hook = model.vision_model.register_forward_hook(
        lambda module, args, kwargs, output: pictures.append(len(output.pooler_output)), with_kwargs=True
    )
    encode_samples(model, processor, samples, batch_size=3, progress=False)
    hook.remove()
    assert sum(pictures) == 4 * 4  # four videos of four frames, for seven captions


def test_metrics_are_those_of_the_similarity(model_and_processor, samples, by_hand):
    model, processor = model_and_processor
    own = [0, 0, 1, 2, 2, 2, 3]
    bank = ["red", "a blue clip", "the green one"]
    model.train()
    metrics = evaluate_model(model, processor, samples, use_dual_softmax=True, query_bank=bank, progress=False)
    assert model.training
    model.eval()
    expected = retrieval_metrics(by_hand, own)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert (metrics["num_videos"], metrics["num_texts"], metrics["num_skipped"]) == (4, 7, 0)
    normalised = retrieval_metrics(dual_softmax(by_hand, float(model.scale.detach())), own)
    assert {name: metrics[f"dual_softmax/{name}"] for name in normalised} == pytest.approx(normalised)
    for direction, queries in (("t2v", 0), ("v2t", 1), ("v2t_by_video", 1)):
        ranked = retrieval_metrics(softmax_prior(by_hand, queries), own)
        assert metrics[f"softmax_prior/{direction}_MnR"] == pytest.approx(ranked[f"{direction}_MnR"])
    encoded = encode_samples(model, processor, samples, progress=False)
    scores = similarity_matrix(model, encode_texts(model, processor, bank), encoded.video, progress=False)
    ranked = retrieval_metrics(QueryBank([scores]).normalize(by_hand), own)
    assert metrics["query_bank/t2v_MnR"] == pytest.approx(ranked["t2v_MnR"])
    assert "query_bank/v2t_R@1" not in metrics


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_told_in_one_line(model_and_processor, samples, broken):
    model, processor = model_and_processor
    encoded = encode_samples(model, processor, samples, progress=False)
    encoded.text.sentence_embeds[1] *= broken
    with pytest.raises(ModelError, match=r"gives 1 texts scores that are no numbers .*--precision fp32") as told:
        evaluate_encoded(model, processor, encoded, progress=False)
    assert "\n" not in str(told.value)


def test_a_bad_video_is_left_out_with_its_captions(model_and_processor, samples, by_hand, tmp_path, caplog):
    model, processor = model_and_processor
    (tmp_path / "broken.mp4").write_bytes(b"not a video at all")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(Path(samples[0].video).read_bytes()[:100])
    broken = [
        VideoSample("broken", str(tmp_path / "broken.mp4"), ("x", "y")),
        VideoSample("cut", {"path": "cut.mp4", "bytes": cut.read_bytes()}, ("z",)),
    ]
    with caplog.at_level(logging.WARNING):
        encoded = encode_samples(model, processor, [broken[0], *samples, broken[1]], batch_size=2, progress=False)
    assert [item.video_id for item in encoded.skipped] == ["broken", "cut"]
    assert f"left out: {tmp_path / 'broken.mp4'}: " in caplog.text
    assert encoded.samples == samples and encoded.text_to_video.tolist() == [0, 0, 1, 2, 2, 2, 3]
    metrics = evaluate_encoded(model, processor, encoded, progress=False)
    assert metrics["num_skipped"] == 2
    assert metrics["t2v_MnR"] == pytest.approx(retrieval_metrics(by_hand, [0, 0, 1, 2, 2, 2, 3])["t2v_MnR"])
    with pytest.raises(CorpusError, match=r"none of the 2 videos can be read; the first: .*broken\.mp4: "):
        encode_samples(model, processor, broken, progress=False)


def test_a_moment_of_a_file_is_its_own_video(model_and_processor, tmp_path):
    model, processor = model_and_processor
    path = tmp_path / "two.mp4"
    write_video(path, [(220, 20, 20), (20, 20, 220)], seconds=2)
    whole = VideoSample("whole", str(path), ("x",))
    parts = [VideoSample(str(start), str(path), ("x",), start, start + 2.0) for start in (0.0, 2.0)]
    encoded = encode_samples(model, processor, [whole, *parts], progress=False).video
    for row, (start, end) in enumerate([(None, None), (0.0, 2.0), (2.0, 4.0)]):
        frames = read_frames(str(path), 4, start=start, end=end, size=32)
        with torch.no_grad():
            expected = model.get_video_features(**processor(videos=[frames], return_tensors="pt"))
        torch.testing.assert_close(encoded.frame_embeds[row], expected.frame_embeds[0], atol=1e-5, rtol=0)
    assert (encoded.frame_embeds[1] - encoded.frame_embeds[2]).abs().max() > 1e-3


def test_hard_negative_accuracy_counts_pairs_and_kinds(model_and_processor, samples, by_hand):
    model, processor = model_and_processor
    accuracy = hard_negative_accuracy(
        model, processor, encode_samples(model, processor, samples, progress=False), progress=False
    )
    red, green, blue_clip, blue, grey = by_hand[0, 0], by_hand[2, 0], by_hand[3, 0], by_hand[4, 2], by_hand[6, 2]
    right = int(red > blue_clip) + int(red > green) + int(blue > grey)
    assert accuracy == pytest.approx(
        {
            "hard_negative_accuracy": 100 * right / 4,
            "hard_negative_accuracy/colour": 100 * right / 3,
            "hard_negative_accuracy/same": 0.0,  # a tie is a failure
        }
    )


def test_hard_negative_accuracy_of_a_model_that_knows(samples, model_and_processor):
    """With each negative's and positive's role swapped, what was right is wrong: the two add up to all but ties."""
    model, processor = model_and_processor
    encoded = encode_samples(model, processor, samples, progress=False)
    swapped = [
        VideoSample(
            s.video_id, s.video, s.captions,
            hard_negatives=tuple(HardNegative(n.kind, n.caption, n.positive) for n in s.hard_negatives),
        )
        for s in samples
    ]  # fmt: skip
    there, back = (
        hard_negative_accuracy(model, processor, encoded._replace(samples=group), progress=False)
        for group in (samples, swapped)
    )
    assert there["hard_negative_accuracy/colour"] + back["hard_negative_accuracy/colour"] == pytest.approx(100.0)
    assert hard_negative_accuracy(model, processor, encoded._replace(samples=samples[1:2]), progress=False) == {}


def evaluate(*arguments):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture(scope="module")
def checkpoint(model_and_processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for part in model_and_processor:
        part.save_pretrained(folder)
    return folder


def test_command_prints_a_table_and_writes_json(checkpoint, corpus, by_hand, tmp_path, capsys):
    arguments = ("--device", "cpu", "--dual-softmax", "--query-bank", "train", "--json", tmp_path / "result.json")
    assert evaluate(checkpoint, corpus, *arguments) == 0
    report = json.loads((tmp_path / "result.json").read_text())
    expected = retrieval_metrics(by_hand, [0, 0, 1, 2, 2, 2, 3])
    assert {name: report["metrics"][name] for name in expected} == pytest.approx(expected)
    assert (report["num_frames"], report["sampling"], report["skipped"]) == (4, "midpoints", [])
    printed = capsys.readouterr().out
    for row in ("text to video", "video to text, dual softmax", "text to video, query bank", "colour", "by video"):
        assert row in printed
    assert "softmax over videos × softmax over texts" in printed and "similarity × softmax over queries" in printed
    assert "frames per video: 4 (checkpoint), midpoints (checkpoint); tokens per text: at most" in printed
    assert report["missing"] == {"list": str(corpus), "listed": 4, "videos": []}
    assert f"{expected['t2v_MnR']:.1f}" in printed


def test_command_prints_only_json_and_tells_of_a_bad_video(checkpoint, corpus, tmp_path, capsys):
    for name in ("0.mp4", "1.mp4", "captions.jsonl"):
        (tmp_path / name).write_bytes((corpus / name).read_bytes())
    (tmp_path / "1.mp4").write_bytes(b"broken")
    assert evaluate(checkpoint, tmp_path, "--device", "cpu", "--missing", "skip", "--num-frames", 2, "--json") == 1
    report = json.loads(capsys.readouterr().out)  # nothing else is printed
    assert report["metrics"]["num_videos"] == 1 and report["num_frames"] == 2
    assert [item["video_id"] for item in report["skipped"]] == ["1.mp4"]
    assert report["missing"] == {"list": str(tmp_path), "listed": 4, "videos": ["2.mp4", "3.mp4"]}
    assert report["settings_from"]["num_frames"] == "command line"


@pytest.fixture(scope="module")
def didemo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("didemo")
    names = ["1@N0_a.avi", "2@N0_b.mov", "3@N0_c."]
    rows = [
        {"video": name, "description": text, "times": [[when, when]]}
        for name in names
        for when, text in ((3, "then it turns blue and stays as blue as it can be"), (0, "it is red for a long time"))
    ]
    (folder / "test_list.txt").write_text("\n".join(names))
    (folder / "test_data.json").write_text(json.dumps(rows))
    for name in names[:2]:
        write_video(folder / f"{name}.mp4", [(220, 20, 20), (20, 20, 220)], seconds=2)
    return folder


@pytest.fixture(scope="module")
def clip_checkpoint(checkpoint, tmp_path_factory):
    """The towers of the tiny model as a CLIP checkpoint."""
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    config = DmaeModel.from_pretrained(checkpoint).config
    towers = {"text_config": config.text_config.to_dict(), "vision_config": config.vision_config.to_dict()}
    CLIPModel(CLIPConfig(**towers, projection_dim=config.projection_dim)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    return folder


def test_a_clip_checkpoint_is_measured_by_the_benchmarks_protocol(clip_checkpoint, didemo, capsys):
    places = ("--videos", didemo, "--annotations", didemo, "--missing", "skip", "--device", "cpu", "--json")
    assert evaluate(clip_checkpoint, "didemo", *places) == 0
    report = json.loads(capsys.readouterr().out)
    positions = DmaeModel.from_clip(clip_checkpoint).config.text_config.max_position_embeddings
    settings = {"num_frames": 64, "sampling": "per_second", "max_words": min(64, positions)}
    assert {name: report[name] for name in settings} == settings
    assert set(report["settings_from"].values()) == {"published protocol"}
    assert report["missing"] == {"list": "test_list.txt", "listed": 3, "videos": ["3@N0_c."]}
    asked = ("--num-frames", 3, "--max-words", 9, "--sampling", "midpoints", "--sentence-order", "time")
    assert evaluate(clip_checkpoint, "didemo", *places, *asked) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["num_frames"], report["max_words"], report["sampling"]) == (3, 9, "midpoints")
    assert set(report["settings_from"].values()) == {"command line"} and report["sentence_order"] == "time"
    with pytest.raises(ValueError, match=rf"--max-words 99: .* has positions for {positions}"):
        evaluate(clip_checkpoint, "didemo", *places, "--max-words", 99)


def test_a_dmae_checkpoint_is_measured_as_it_was_trained(checkpoint, didemo, capsys):
    places = ("--videos", didemo, "--annotations", didemo, "--missing", "skip", "--device", "cpu", "--json")
    assert evaluate(checkpoint, "didemo", *places) == 0
    report = json.loads(capsys.readouterr().out)
    processor = DmaeProcessor.from_pretrained(checkpoint)
    assert (report["num_frames"], report["sampling"], report["max_words"]) == (4, "midpoints", processor.max_words)
    assert set(report["settings_from"].values()) == {"checkpoint"}


def test_command_in_half_precision(checkpoint, corpus, by_hand, capsys):
    assert evaluate(checkpoint, corpus, "--device", "cpu", "--dtype", "bfloat16", "--json") == 0
    mean_rank = json.loads(capsys.readouterr().out)["metrics"]["t2v_MnR"]
    assert abs(mean_rank - retrieval_metrics(by_hand, [0, 0, 1, 2, 2, 2, 3])["t2v_MnR"]) < 1


def test_command_refuses_what_cannot_work(checkpoint, corpus, tmp_path):
    with pytest.raises(ValueError, match="--batch-size must be at least 1, not 0"):
        evaluate(checkpoint, corpus, "--batch-size", 0)
    with pytest.raises(ValueError, match=r"--json .*cannot be written: there is no folder"):
        evaluate(checkpoint, corpus, "--json", tmp_path / "nowhere" / "result.json")
    with pytest.raises(CorpusError, match="no folder here"):
        evaluate(checkpoint, tmp_path / "nowhere")
    with pytest.raises(OSError, match="there is no folder"):
        evaluate(tmp_path / "no-model", corpus)
    with pytest.raises(OSError, match=r"without config\.json"):
        evaluate(tmp_path, corpus)


@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs the real clips of ../shared/clips")
def test_real_clips_are_encoded_as_the_processor_reads_them(model_and_processor):
    model, processor = model_and_processor
    samples = load_samples(str(CLIPS), "test")
    encoded = encode_samples(model, processor, samples, progress=False)
    assert len(encoded.samples) == 14 and len(encoded.text_to_video) == 42 and not encoded.skipped
    with torch.no_grad():
        expected = model.get_video_features(**processor(videos=[samples[3].video], return_tensors="pt"))
    torch.testing.assert_close(encoded.video.frame_embeds[3:4], expected.frame_embeds, atol=1e-5, rtol=0)
