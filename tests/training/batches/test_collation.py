import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from training_parts import WORDS, tiny_model, write_corpus

from dmae.modeling.encoding import Normalizer
from dmae.training.batches.caption_edits import CaptionEditor
from dmae.training.batches.collation import Collator, PairDataset, Row, exchange_halves, to_device, twin_of
from dmae.training.batches.loading import make_batches
from dmae.training.batches.sampling import Pair, PairBatchSampler, unique_batches
from dmae.training.batches.word_dropping import WordDropper
from dmae.training.config import ConfigError, TrainConfig
from dmae.training.corpora import VideoSample


@pytest.fixture(scope="module")
def processor():
    return tiny_model()[1]


@given(
    counts=st.lists(st.integers(1, 5), min_size=3, max_size=20),
    batch_size=st.integers(3, 10),
    processes=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
@settings(max_examples=50, deadline=None)
def test_shares_of_all_processes_are_the_batches_of_one(counts, batch_size, processes, epoch):
    """And every batch holds a video at most once, every epoch each caption at most once."""
    parts = []
    for index in range(processes):
        sampler = PairBatchSampler(counts, batch_size, seed=1, process_index=index, num_processes=processes)
        sampler.epoch = epoch
        parts.append(list(sampler))
    joined = [[pair for share in shares for pair in share] for shares in zip(*parts)]
    whole = PairBatchSampler(counts, batch_size, seed=1, num_processes=processes).plan(epoch)
    assert joined == whole and all(share for part in parts for share in part)
    for batch in whole:
        assert max(Counter(pair.video for pair in batch).values()) == 1
    pairs = [pair for batch in whole for pair in batch]
    assert len(set(pairs)) == len(pairs)
    left_out = sum(counts) - len(pairs)
    assert left_out == 0 or left_out < sum(counts)


def test_an_epoch_over_captions_shows_each_once():
    batches = PairBatchSampler([3] * 10, 5, seed=0).plan(0)
    pairs = {(pair.video, pair.caption) for batch in batches for pair in batch}
    assert len(pairs) >= 30 - 1 and sum(map(len, batches)) == len(pairs)


def test_an_epoch_over_videos_shows_each_once_and_other_captions_later():
    sampler = PairBatchSampler([4] * 12, 5, epoch_over="videos", seed=0)
    shown = [[pair for batch in sampler.plan(epoch) for pair in batch] for epoch in range(6)]
    for pairs in shown:
        assert sorted(pair.video for pair in pairs) == list(range(12))
    assert len({tuple(sorted(pairs)) for pairs in shown}) == 6


def test_a_sampler_starts_where_a_run_stopped():
    sampler = PairBatchSampler([2] * 9, 4, seed=5)
    whole = list(sampler)
    sampler.start = 2
    assert list(sampler) == whole[2:] and len(sampler) == len(whole) - 2


def test_drop_last():
    assert {len(batch) for batch in PairBatchSampler([1] * 10, 4, drop_last=True).plan(0)} == {4}
    assert [len(batch) for batch in PairBatchSampler([1] * 10, 4).plan(0)] == [4, 4, 2]
    # a batch of one compares nothing
    assert [len(batch) for batch in PairBatchSampler([1] * 9, 4).plan(0)] == [4, 4]


@pytest.mark.parametrize(("videos", "batch_size", "processes"), [(1, 8, 1), (3, 8, 4), (8, 2, 3)])
def test_too_few_videos_or_too_many_processes(videos, batch_size, processes):
    with pytest.raises(ValueError, match="use fewer processes, more videos or a larger batch_size"):
        PairBatchSampler([1] * videos, batch_size, num_processes=processes)


def test_waiting_items_are_not_lost():
    batches = list(unique_batches("aaabbc", 2, key=str))
    assert sorted("".join(map("".join, batches))) == sorted("aaabbc")
    assert all(len(set(batch)) == len(batch) for batch in batches)


class Frames:
    """Two grey levels a video; video 2 cannot be read."""

    def __getitem__(self, index):
        frames = torch.full((2, 3, 32, 32), 10 * index, dtype=torch.uint8)
        return None if index == 2 else (frames, torch.ones(2, dtype=torch.long))


def make_dataset(dropper=None):
    samples = [VideoSample(str(i), f"{i}.mp4", (f"a red square {i}", "green round")) for i in range(4)]
    return PairDataset(samples, Frames(), dropper, seed=3)


def test_a_batch_is_what_the_processor_gives(processor):
    dataset, collate = make_dataset(), Collator(processor)
    batch = collate([dataset[Pair(0, 0, 0)], dataset[Pair(3, 1, 0)]])
    assert batch.video_ids == ["0", "3"] and batch.captions == ["a red square 0", "green round"]
    expected = processor(text=batch.captions, return_tensors="pt")
    for name in ("input_ids", "attention_mask", "word_weights"):
        assert torch.equal(batch.inputs[name].float(), expected[name].float())
    assert batch.inputs["pixel_values_videos"].dtype == torch.uint8


def test_a_video_that_cannot_be_read_loses_only_itself(processor):
    dataset, collate = make_dataset(), Collator(processor)
    batch = collate([dataset[Pair(i, 0, 0)] for i in range(4)])
    assert batch.video_ids == ["0", "1", "3"] and {len(value) for value in batch.inputs.values()} == {3}


def test_captions_are_encoded_once(processor, monkeypatch):
    collate, asked = Collator(processor), []
    call = type(processor).__call__
    monkeypatch.setattr(
        type(processor),
        "__call__",
        lambda self, text, **options: asked.extend(text) or call(self, text=text, **options),
    )
    first = collate.encode([WORDS[:9], "red", "red"])
    again = collate.encode(["red", WORDS[:9], "red"])
    assert asked == [WORDS[:9], "red"]
    assert torch.equal(first["input_ids"][[1, 0, 2]], again["input_ids"])


def test_fixed_length_for_compiled_models(processor):
    assert Collator(processor, fixed_length=True).encode(["red"])["input_ids"].shape == (1, 8)
    assert Collator(processor).encode(["red"])["input_ids"].shape[1] < 8


def test_words_dropped_depend_on_seed_epoch_and_pair_alone():
    dropper = WordDropper([["the red square moves to the left of it"]] * 4, weight_limit=2.0)
    samples = [VideoSample(str(i), "x", ("the red square moves to the left of it",)) for i in range(4)]

    def captions(epoch):
        return [PairDataset(samples, Frames(), dropper, seed=3)[Pair(i, 0, epoch)].caption for i in range(4)]

    assert captions(0) == captions(0) and len({*captions(0), *captions(1), *captions(2)}) > 2


def test_wrong_captions_are_inputs_of_their_own(processor):
    captions = [("red left",), ("green left",), ("blue left",)]
    samples = [VideoSample(f"v{n}", f"{n}.mp4", texts) for n, texts in enumerate(captions)]
    frames = {n: (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.ones(2)) for n in range(3)}
    dataset = PairDataset(samples, frames, editor=CaptionEditor(captions), seed=5)
    rows = [dataset[Pair(n, 0, 0)] for n in range(3)]
    batch = Collator(processor)(rows)
    assert len(batch) == 3 == len(batch.inputs["pixel_values_videos"]) and batch.captions == [t[0] for t in captions]
    expected = Collator(processor).encode([*batch.captions, *(caption for row in rows for caption in row.wrong)])
    assert batch.inputs["input_ids"].equal(expected["input_ids"][:3])
    assert (
        batch.inputs["wrong_texts"]["input_ids"].equal(expected["input_ids"][3:]) and len(expected["input_ids"]) == 6
    )
    assert "wrong_texts" not in Collator(processor)([row._replace(wrong=None) for row in rows]).inputs
    none = Collator(processor)([row._replace(wrong=()) for row in rows]).inputs["wrong_texts"]
    assert len(none["input_ids"]) == 0  # so that all processes give the same kinds of features
    assert all(row.wrong[0].split()[1] == "left" and row.wrong[0] != row.caption for row in rows)


def test_bytes_become_the_processors_floats(processor):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    expected = processor.video_processor([pixels], return_tensors="pt")["pixel_values_videos"]
    kept = processor.video_processor([pixels], do_rescale=False, do_normalize=False, return_tensors="pt")
    inputs = {"pixel_values_videos": kept["pixel_values_videos"]}
    assert inputs["pixel_values_videos"].dtype == torch.uint8
    ours = to_device(inputs, torch.device("cpu"), Normalizer(processor.video_processor))["pixel_values_videos"]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_idf_is_learned_from_the_training_captions(tmp_path):
    _, processor = tiny_model()
    processor.word_weighting = "idf"
    config = TrainConfig(dataset=str(write_corpus(tmp_path / "corpus", videos=3)), batch_size=3, progress=False)
    make_batches(config, processor, Accelerator(cpu=True))
    assert processor.token_frequencies["captions"] == 6
    begin, *_, end = processor.tokenize(["a red picture"])[0].ids
    assert processor.token_frequencies["counts"][begin] == processor.token_frequencies["counts"][end] == 6
    with pytest.raises(ConfigError, match="which a stream has not"):
        processor.token_frequencies = None
        make_batches(replace(config, streaming=True, max_steps=1), processor, Accelerator(cpu=True))


@given(
    counts=st.lists(st.integers(1, 4), min_size=8, max_size=30),
    consecutive=st.integers(2, 4),
    epoch_over=st.sampled_from(["captions", "videos"]),
    epoch=st.integers(0, 3),
)
@settings(max_examples=50, deadline=None)
def test_neighbours_share_a_batch_and_nothing_is_lost(counts, consecutive, epoch_over, epoch):
    options = {"epoch_over": epoch_over, "consecutive": consecutive, "seed": 2}
    (batch,) = PairBatchSampler([1] * len(counts), len(counts), **options).plan(epoch)
    blocks = [pair.video // consecutive for pair in batch]
    assert sum(one != other for one, other in pairwise(blocks)) == len(set(blocks)) - 1  # each stays together
    pairs = [pair for batch in PairBatchSampler(counts, len(counts), **options).plan(epoch) for pair in batch]
    assert len(set(pairs)) == len(pairs)
    if epoch_over == "videos":
        assert sorted(pair.video for pair in pairs) == list(range(len(counts)))


def test_a_corpus_without_neighbours_keeps_its_plan():
    plans = [PairBatchSampler([2] * 9, 4, seed=3, **more).plan(1) for more in ({}, {"consecutive": 1})]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(("real", "order"), [(4, [2, 3, 0, 1, 4]), (5, [2, 3, 4, 0, 1]), (1, [0, 1, 2, 3, 4])])
def test_halves_are_exchanged_and_padding_stays(real, order):
    mask = (torch.arange(5) < real).float()
    frames, kept = exchange_halves(torch.arange(5)[:, None], mask)
    assert frames[:, 0].tolist() == order and kept.equal(mask)


def test_a_told_order_brings_its_twin(processor):
    frames = torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 32, 32), torch.ones(2)
    texts = ("red moves, then blue stands", "red moves and blue stands")
    rows = [Row(VideoSample(text, "x", (text,)), text, frames, ["a wrong one"]) for text in texts]
    rows.append(rows[0]._replace(frames=None))
    batch = Collator(processor)([row._replace(twin=twin_of(row)) for row in rows])
    assert batch.captions == [*texts, "blue stands, then red moves"]
    assert batch.inputs["pixel_values_videos"][:, :, 0, 0, 0].tolist() == [[0, 1], [0, 1], [1, 0]]
    assert len(batch.inputs["wrong_texts"]["input_ids"]) == 2 and len(batch) == 3
    assert Collator(processor)(rows).captions == list(texts)
    dataset = PairDataset([row.sample for row in rows], [frames] * 3, twins_from=1.5)
    assert [dataset[Pair(0, 0, epoch)].twin is None for epoch in (0, 1, 2, 3)] == [True, True, False, False]


def test_twins_come_in_the_last_share_of_the_epochs(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", videos=8)
    settings = {"dataset": str(corpus), "epoch_over": "videos", "batch_size": 4, "num_workers": 0, "model": "x"}

    def starts(**changes) -> float:
        return make_batches(
            TrainConfig(**settings, **changes), tiny_model()[1], Accelerator()
        ).loader.dataset.twins_from

    assert starts(epochs=4, event_twins=0.25) == 3 and starts(max_steps=10, event_twins=0.4) == pytest.approx(3)
    assert starts(event_twins=1.0) == 0 and starts() == math.inf
