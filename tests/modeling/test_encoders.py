"""Every type of dual encoder under the method: its own embeddings, its own preprocessing, saving, what is refused.

Run with `python -m pytest tests/modeling/test_encoders.py`.
"""

import json

import numpy as np
import pytest
import torch
import transformers
from dual_encoders import IMAGES, SENTENCES, SQUARE, TYPES, own_frame_embeds, own_text_embeds, save_dual_encoder
from PIL import Image
from tiny import TEXT, VISION, tiny_config
from transformers import AutoTokenizer

from dmae.modeling import DmaeModel, DmaeVideoProcessor, InputError, load_pretrained
from dmae.training.release.model_card import save_model_card

LENGTHS = {"clip": 32, "metaclip_2": 77, "siglip": 24, "siglip2": 24, "altclip": 77, "chinese_clip": 52}
SHORT_AND_LONG = [*SENTENCES, SENTENCES[0] * 2]


@pytest.fixture(scope="module")
def checkpoint(request, tmp_path_factory):
    """The type's own model, and the folder of its checkpoint."""
    folder = tmp_path_factory.mktemp(request.param)
    return save_dual_encoder(request.param, folder), folder


every_type = pytest.mark.parametrize("checkpoint", TYPES, indirect=True)


def random_videos(count: int = 2, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (4, 48, 80, 3), dtype=np.uint8) for _ in range(count)]


def text_features(model, processor, texts):
    inputs = processor(text=texts, return_tensors="pt")
    with torch.no_grad():
        return model.get_text_features(inputs["input_ids"], inputs["attention_mask"], inputs["word_weights"])


def batch_of(processor):
    return processor(text=SENTENCES, videos=random_videos(len(SENTENCES)), return_tensors="pt")


@every_type
def test_embeddings_are_the_encoders_own(checkpoint):
    reference, folder = checkpoint
    model, processor = load_pretrained(folder, num_frames=4)
    assert not model.training and model.config.encoder == reference.config.model_type
    assert model.config.max_words == processor.max_words == LENGTHS[model.config.encoder]
    texts = text_features(model, processor, SHORT_AND_LONG)
    expected = own_text_embeds(reference, AutoTokenizer.from_pretrained(folder), SHORT_AND_LONG)
    assert (expected @ expected.t()).fill_diagonal_(0).max() < 0.999, "texts that are all alike would prove nothing"
    torch.testing.assert_close(texts.sentence_embeds, expected, atol=1e-5, rtol=0)

    pixels = processor(videos=random_videos(), return_tensors="pt")["pixel_values_videos"]
    with torch.no_grad():
        frames = model.get_video_features(pixels).frame_embeds
    torch.testing.assert_close(
        frames.flatten(0, 1), own_frame_embeds(reference, pixels.flatten(0, 1)), atol=1e-5, rtol=0
    )


@every_type
def test_a_text_alone_is_as_in_a_batch(checkpoint):
    model, processor = load_pretrained(checkpoint[1])
    together = text_features(model, processor, SHORT_AND_LONG)
    for row, text in enumerate(SHORT_AND_LONG):
        alone = text_features(model, processor, [text])
        real = alone.word_weights[0] > 0
        torch.testing.assert_close(alone.sentence_embeds[0], together.sentence_embeds[row], atol=1e-5, rtol=0)
        words = together.word_embeds[row][together.word_weights[row] > 0]
        torch.testing.assert_close(alone.word_embeds[0][real], words, atol=1e-5, rtol=0)
    # Also where a caller asks for other padding.
    inputs = processor(text=SHORT_AND_LONG, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        padded = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    torch.testing.assert_close(padded.sentence_embeds, together.sentence_embeds, atol=1e-5, rtol=0)


@every_type
def test_pictures_are_prepared_as_the_checkpoint_says(checkpoint):
    _, folder = checkpoint
    model, processor = load_pretrained(folder, num_frames=4)
    ours = processor.video_processor
    assert (*ours.image_mean, *ours.image_std) == (*IMAGES["image_mean"], *IMAGES["image_std"])
    cropped = model.config.encoder in ("clip", "metaclip_2", "altclip")
    assert ours.do_center_crop == cropped and ours.size == ({"shortest_edge": 32} if cropped else SQUARE)
    video = random_videos(1)[0]
    found = processor(videos=[video], return_tensors="pt")["pixel_values_videos"][0]
    if model.config.encoder == "siglip2":
        own = transformers.SiglipImageProcessorPil(size=SQUARE, resample=2, **IMAGES)  # a square of its patches
    else:
        own = transformers.models.auto.image_processing_auto.AutoImageProcessor.from_pretrained(folder, backend="pil")
    expected = own([Image.fromarray(frame) for frame in video], return_tensors="pt")["pixel_values"]
    assert found.shape == expected.shape == (4, 3, 32, 32)
    one_step = 1 / 255 / min(IMAGES["image_std"])
    assert (found - expected).abs().max() <= 1.01 * one_step


@every_type
def test_a_saved_model_brings_its_encoder_and_preprocessing(checkpoint, tmp_path):
    model, processor = load_pretrained(checkpoint[1], num_frames=4, temporal_layers=1)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["encoder"] == model.config.encoder
    again, same_processor = load_pretrained(tmp_path)
    assert same_processor.video_processor.to_dict() == processor.video_processor.to_dict()
    inputs = batch_of(processor)
    assert all(batch_of(same_processor)[name].equal(inputs[name]) for name in processor.model_input_names)
    with torch.no_grad():
        assert again(**inputs).logits_per_text.equal(model(**inputs).logits_per_text)


@every_type
def test_every_weight_learns_with_and_without_checkpointed_activations(checkpoint):
    model, processor = load_pretrained(checkpoint[1], num_frames=4, temporal_layers=1)
    model.frame_predictor.requires_grad_(False)
    inputs, gradients = batch_of(processor), []
    for _ in range(2):
        model.train().zero_grad()
        torch.manual_seed(0)  # of dropout, which some text towers have
        loss = model(**inputs, return_loss=True).loss
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        model.activation_checkpointing_enable()
    unused = {name for name, p in model.named_parameters() if p.requires_grad} - gradients[0].keys()
    assert not unused
    assert all(gradient.isfinite().all() for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@every_type
def test_half_precision_keeps_logits_in_float32(checkpoint):
    model, processor = load_pretrained(checkpoint[1], num_frames=4, temporal_layers=1)
    inputs = batch_of(processor)
    with torch.no_grad():
        exact = model(**inputs).logits_per_text
        with torch.autocast("cpu", torch.bfloat16):
            under_autocast = model(**inputs).logits_per_text
        half, _ = load_pretrained(checkpoint[1], num_frames=4, dtype=torch.bfloat16)
        assert half.dtype == torch.bfloat16
        rounded = half(**inputs).logits_per_text
    assert under_autocast.dtype == rounded.dtype == torch.float32
    torch.testing.assert_close(under_autocast, exact, atol=4.0, rtol=0)  # of 100
    assert rounded.isfinite().all()


@every_type
def test_a_frame_transformer_starts_from_text_blocks_where_these_fit(checkpoint):
    reference, folder = checkpoint
    model = DmaeModel.from_dual_encoder(folder, temporal_layers=2, num_frames=4)
    blocks = model.frame_transformer.encoder.layers
    assert blocks[0].self_attn.q_proj.weight.shape == (32, 32)
    theirs = getattr(reference.text_model, "encoder", None)
    copied = hasattr(theirs, "layers")  # BERT's and RoBERTa's blocks have other parts
    assert copied == (model.config.encoder not in ("altclip", "chinese_clip"))
    if copied:
        assert blocks[1].mlp.fc1.weight.equal(theirs.layers[1].mlp.fc1.weight)
    deeper = {"temporal_layers": 3, "num_frames": 4}
    if model.config.encoder == "clip":
        with pytest.raises(ValueError, match="ask for fewer layers"):
            DmaeModel.from_dual_encoder(folder, **deeper)
    else:
        fresh = DmaeModel.from_dual_encoder(folder, **deeper).frame_transformer.encoder.layers[0]
        assert fresh.mlp.fc1.weight.std().item() == pytest.approx((2 * 32) ** -0.5, rel=0.15)


@pytest.mark.parametrize("checkpoint", ["clip", "siglip2"], indirect=True)  # the rest are slow and built alike
def test_the_towers_compile_without_a_break(checkpoint):
    model, processor = load_pretrained(checkpoint[1], num_frames=4, tpm_predictor=None)
    inputs = batch_of(processor)
    arguments = (inputs["input_ids"], inputs["attention_mask"], inputs["word_weights"])
    with torch.no_grad():
        for method, given in (
            (model.get_text_features, arguments),
            (model.get_video_features, (inputs["pixel_values_videos"],)),
        ):
            found = torch.compile(method, backend="eager", fullgraph=True)(*given)
            torch.testing.assert_close(found[0], method(*given)[0])
    torch.compiler.reset()


def test_a_clip_with_other_values_than_openais_keeps_them(tmp_path):
    save_dual_encoder("clip", tmp_path)
    for name in ("preprocessor_config.json", "processor_config.json"):
        (tmp_path / name).unlink(missing_ok=True)
    plain = load_pretrained(tmp_path)[1].video_processor
    assert plain.size == {"shortest_edge": 32} and plain.image_mean == DmaeVideoProcessor().image_mean
    old_form = {"size": 40, "crop_size": 32, "resample": 2, "image_std": [1, 1, 1], "do_center_crop": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old_form))
    told = load_pretrained(tmp_path)[1].video_processor
    assert (told.size, told.crop_size, told.resample) == ({"shortest_edge": 40}, SQUARE, 2)
    assert tuple(told.image_std) == (1, 1, 1) and told.image_mean == DmaeVideoProcessor().image_mean


def test_pictures_of_another_size_than_the_towers_become_the_towers(tmp_path):
    save_dual_encoder("clip", tmp_path)
    (tmp_path / "processor_config.json").unlink(missing_ok=True)
    told = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "image_std": [1, 1, 1]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    with pytest.warns(UserWarning, match=r"of another size than its tower's \(32, 32\)"):
        model, processor = load_pretrained(tmp_path, num_frames=4)
    assert processor.video_processor.crop_size == SQUARE and tuple(processor.video_processor.image_std) == (1, 1, 1)
    inputs = processor(videos=random_videos(1), return_tensors="pt")
    assert model.get_video_features(inputs["pixel_values_videos"]).frame_embeds.shape == (1, 4, 32)


def _bert():
    return transformers.BertConfig()


def _one_tower():
    return transformers.CLIPVisionConfig(**VISION)


def _generative():
    return transformers.GPT2Config()


def _conditioned():
    return transformers.XCLIPConfig()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_bert, "'bert' checkpoint, no dual encoder known here: give a DMAE"),
        (_generative, "'gpt2' checkpoint, no dual encoder"),
        (_one_tower, "'clip_vision_model' checkpoint, one tower of two"),
        (_conditioned, "its text embeddings depend on the video"),
    ],
)
def test_what_is_no_dual_encoder_is_refused_in_one_line(tmp_path, make, message):
    make().save_pretrained(tmp_path)
    for load in (load_pretrained, DmaeModel.from_dual_encoder):
        with pytest.raises(ValueError, match=message) as refused:
            load(tmp_path)
        assert "\n" not in str(refused.value)


def test_towers_that_do_not_fit_together_are_named():
    with pytest.raises(ValueError, match="set encoder to the type of its towers"):
        tiny_config(text_config=transformers.SiglipTextConfig())
    with pytest.raises(ValueError, match="encoder must be one of"):
        tiny_config(encoder="blip")
    square = {**VISION, "hidden_size": 32}
    siglip = {"encoder": "siglip", "text_config": TEXT, "projection_dim": 32}
    with pytest.raises(ValueError, match="no pooling head"):
        DmaeModel(tiny_config(**siglip, vision_config=square | {"vision_use_head": False}))
    with pytest.raises(ValueError, match=r"end in 32 \(text\) and 48 \(vision\), not projection_dim=32"):
        DmaeModel(tiny_config(**siglip, vision_config=VISION))


@every_type
def test_a_model_card_can_be_written(checkpoint, tmp_path):
    model = DmaeModel.from_dual_encoder(checkpoint[1])
    card = save_model_card(tmp_path, model.config).read_text(encoding="utf-8")
    assert f"- {model.config.encoder}\n" in card and "frames of 32 × 32 pixels (patches of 16)" in card


def test_a_tokenizer_without_padding_is_named(checkpoint_without_padding):
    _, processor = load_pretrained(checkpoint_without_padding)
    assert len(processor(text="a dog")["input_ids"]) == 1
    with pytest.raises(InputError, match=r"no padding token: set tokenizer.pad_token"):
        processor(text=["a dog", "a dog runs over the grass"])


@pytest.fixture
def checkpoint_without_padding(tmp_path):
    save_dual_encoder("clip", tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": None}))
    return tmp_path
