"""DmaeProcessor: exactly the model's inputs, word weights, CLIP's real vocabulary, bad input."""

import importlib.util
import warnings

import numpy as np
import pytest
import torch
from tiny import clip_tokenizer
from transformers import CLIPConfig, CLIPModel

from dmae.modeling import DmaeModel, DmaeProcessor, DmaeVideoProcessor, load_pretrained
from dmae.modeling.word_weighting import content_spans

SMALL = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "num_frames": 4}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return clip_tokenizer(tmp_path_factory.mktemp("clip_tokenizer"))


@pytest.fixture(scope="module")
def processor(tokenizer):
    return DmaeProcessor(video_processor=DmaeVideoProcessor(**SMALL), tokenizer=tokenizer)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory, tokenizer):
    """A tiny CLIP checkpoint with the real vocabulary, tokenizer included."""
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=tower, vision_config=tower | {"image_size": 32, "patch_size": 16}, projection_dim=16
    )
    folder = tmp_path_factory.mktemp("clip_with_tokenizer")
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def video():
    return np.random.default_rng(0).integers(0, 256, (6, 40, 60, 3), dtype=np.uint8)


def weights_of(processor, text):
    """{token: weight} of one text, with CLIP's end-of-word marks taken off."""
    batch = processor(text=[text])
    tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    return {token.replace("</w>", ""): weight for token, weight in zip(tokens, batch["word_weights"][0])}


def test_the_clip_vocabulary_is_openais(tokenizer):
    """Ids published with CLIP's own tests."""
    ids = tokenizer("a photo of a cat")["input_ids"]
    assert ids == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_output_is_exactly_the_models_input(processor, video, clip_folder):
    batch = processor(text=["a dog", "two dogs run on the grass"], videos=[video, video], return_tensors="pt")
    assert set(batch) == set(processor.model_input_names)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["word_weights"].shape == (2, 8)
    assert batch["pixel_values_videos"].shape == (2, 4, 3, 32, 32)
    assert batch["pixel_values_videos"].dtype == torch.float32
    assert batch["frame_mask"].tolist() == [[1] * 4] * 2
    model = DmaeModel.from_clip(clip_folder)
    assert model(**batch).logits_per_text.shape == (2, 2)


def test_content_words_weigh_two(processor):
    found = weights_of(processor, "A man is riding the skateboard")
    assert found == {
        "<|startoftext|>": 1, "a": 1, "man": 2, "is": 1, "riding": 2, "the": 1, "skateboard": 2, "<|endoftext|>": 1,
    }  # fmt: skip


def test_a_words_weight_is_spread_over_its_sub_tokens(processor):
    text = "the antidisestablishmentarianism of it"
    batch = processor(text=text)
    pieces = len(processor.tokenizer("antidisestablishmentarianism")["input_ids"]) - 2
    assert pieces > 1
    assert batch["word_weights"][0] == [1, 1, *[2] * pieces, 1, 1, 1]


def test_padding_weighs_nothing(processor):
    batch = processor(text=["a dog", "a dog runs over green grass"], return_tensors="pt")
    assert batch["word_weights"].gt(0).equal(batch["attention_mask"].bool())
    assert batch["word_weights"][0, -1] == 0


def test_no_weighting_gives_ones(tokenizer):
    processor = DmaeProcessor(DmaeVideoProcessor(**SMALL), tokenizer, word_weighting="none")
    assert processor(text="a dog runs")["word_weights"] == [[1] * 5]
    with pytest.raises(ValueError, match="word_weighting must be one of"):
        DmaeProcessor(DmaeVideoProcessor(**SMALL), tokenizer, word_weighting="verbs")


@pytest.mark.skipif(importlib.util.find_spec("spacy") is not None, reason="spaCy is installed here")
def test_parts_of_speech_say_what_to_install(tokenizer):
    processor = DmaeProcessor(DmaeVideoProcessor(**SMALL), tokenizer, word_weighting="pos")
    with pytest.raises(ImportError, match="python -m spacy download en_core_web_sm"):
        processor(text="a dog")


def test_parts_of_speech_take_nouns_verbs_and_adjectives(monkeypatch):
    """The tags come from spaCy; which of them count is ours."""
    from types import SimpleNamespace

    from dmae.modeling import word_weighting

    def tag(text):
        tags = {"big": "ADJ", "Rex": "PROPN", "dogs": "NOUN", "quickly": "ADV", "is": "AUX", "run": "VERB"}
        return [
            SimpleNamespace(idx=text.index(w), text=w, pos_=tags.get(w, "X"), is_stop=w == "is") for w in text.split()
        ]

    monkeypatch.setattr(word_weighting, "_spacy_pipeline", lambda language: tag)
    text = "big Rex dogs run quickly"
    assert [text[a:b] for a, b in content_spans(text, "pos")] == ["big", "dogs", "run"]


def test_contractions_are_one_word():
    text = "It’s a dog that doesn't bark"
    assert [text[a:b] for a, b in content_spans(text)] == ["dog", "bark"]


def test_a_long_text_is_cut_with_one_warning(processor):
    long = "very green grass " * 40
    with pytest.warns(UserWarning) as warned:
        batch = processor(text=[long, "a dog", long])
    assert [str(w.message) for w in warned] == ["2 of 3 texts cut to 32 tokens (max_words)"]
    assert [len(ids) for ids in batch["input_ids"]] == [32] * 3
    assert batch["input_ids"][0][-1] == processor.tokenizer.eos_token_id  # the sentence embedding is read there
    with pytest.warns(UserWarning, match="cut to 77 tokens"):
        assert len(processor(text=long, max_length=77)["input_ids"][0]) == 77


@pytest.mark.parametrize(
    "text",
    [
        "一只狗在滑板上从左边跑到右边然后跳起来了",
        "犬がスケートボードに乗って坂を下りている",
        "개가 스케이트보드를 타고 언덕을 내려간다",
        "𓀀𓀁𓀂𓀃𓀄𓀅𓀆𓀇𓀈𓀉𓀊𓀋𓀌𓀍",
    ],
)
def test_a_short_text_of_many_tokens_is_cut_with_a_warning(processor, text):
    assert len(text) <= 23 and len(processor.tokenizer(text)["input_ids"]) > 32
    with pytest.warns(UserWarning, match="1 of 1 texts cut to 32 tokens"):
        assert len(processor(text=text)["input_ids"][0]) == 32


def test_a_text_that_just_fits_is_not_warned_of(processor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(processor(text="dog " * 30)["input_ids"][0]) == 32


def test_half_a_character_is_refused(processor):
    with pytest.raises(ValueError, match=r"text 1, .*half a character"):
        processor(text=["a dog 😀", "a dog \ud83d"])


@pytest.mark.parametrize("text", ["", "  \n", ["a dog", ""], ["a dog", None]])
def test_an_empty_text_is_named(processor, text):
    with pytest.raises(ValueError, match=r"text \d is .*: give a non-empty string"):
        processor(text=text)


def test_nothing_to_process_and_a_foreign_video_processor(processor, tokenizer):
    with pytest.raises(ValueError, match="give text, videos, or both"):
        processor()
    with pytest.raises(TypeError, match="must be a DmaeVideoProcessor"):
        DmaeProcessor(tokenizer, tokenizer)


def test_save_and_load_round_trip(tmp_path, tokenizer, video):
    processor = DmaeProcessor(
        DmaeVideoProcessor(**SMALL, sampling="per_second"), tokenizer, word_weighting="none", max_words=20
    )
    processor.save_pretrained(tmp_path)
    loaded = DmaeProcessor.from_pretrained(tmp_path)
    assert (loaded.word_weighting, loaded.max_words) == ("none", 20)
    assert loaded.video_processor.to_dict() == processor.video_processor.to_dict()
    one, other = (p(text="a big dog", videos=video, return_tensors="pt") for p in (processor, loaded))
    assert all(one[name].equal(other[name]) for name in processor.model_input_names)


def test_a_clip_checkpoint_loads_with_its_processor(clip_folder):
    model, processor = load_pretrained(clip_folder)
    assert not model.training and processor.video_processor.crop_size == {"height": 32, "width": 32}
    assert processor(text="a cat")["input_ids"] == [[49406, 320, 2368, 49407]]
    with pytest.raises(OSError, match="is a folder without"):
        load_pretrained(clip_folder.parent)
