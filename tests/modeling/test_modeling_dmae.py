"""DmaeModel as a PreTrainedModel: shapes, options, saving, CLIP checkpoints, precision, gradients."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TEXT, VISION, tiny_batch, tiny_config, tiny_model
from torch.nn import functional as F
from transformers import AutoModel, BertConfig, CLIPConfig, CLIPModel

from dmae.modeling import AttentionTokenWeightPredictor, DmaeConfig, DmaeModel, dmae_similarity, negnce_loss

VARIANTS = [
    {},
    {"loss": "infonce", "tpm_predictor": None},
    {"tpm_predictor": "attention", "learn_logit_scale": True},
    {"tpm_predictor": "projected_attention"},
    {"temporal_layers": 2, "learned_token_weights": True},
    {"textual_attention": False, "visual_attention": False},
    {"mean_pooling": True},
]


def total_gradient(model):
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "+".join(o) or "default")
def test_forward_loss_and_gradient(options):
    model, batch = tiny_model(**options).train(), tiny_batch()
    output = model(**batch, return_loss=True)
    assert output.logits_per_text.shape == (3, 3)
    assert output.logits_per_video.equal(output.logits_per_text.t())
    for embeds in (output.sentence_embeds, output.word_embeds, output.frame_embeds):
        torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(embeds.shape[:-1]))
    expected = output.contrastive_loss
    if model.config.tpm_predictor:
        expected = expected + model.config.tpm_weight * output.partial_order_loss
    torch.testing.assert_close(output.loss, expected)
    output.loss.backward()
    # The frames' weights only choose what is masked: no gradient can reach their predictor.
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {name for name, _ in model.named_parameters() if name.startswith("frame_predictor.")}
    assert all(g.isfinite().all() for g in total_gradient(model).values())


def test_mean_pooling_is_the_cosine_of_sentence_and_mean_frame():
    plain = tiny_model()
    batch = tiny_batch()
    options = {"mean_pooling": True, "textual_attention": False, "visual_attention": False}
    pooled = tiny_model(**options)
    pooled.load_state_dict(plain.state_dict())
    with torch.no_grad():
        output, frames = pooled(**batch), plain(**batch)
    mask = batch["frame_mask"][:, :, None]
    mean = F.normalize((frames.frame_embeds * mask).sum(dim=1), dim=-1)
    torch.testing.assert_close(output.logits_per_text, 100 * output.sentence_embeds @ mean.t())


def test_features_unpack_into_the_similarity():
    model, batch = tiny_model(), tiny_batch()
    with torch.no_grad():
        text = model.get_text_features(batch["input_ids"], batch["attention_mask"], batch["word_weights"])
        video = model.get_video_features(batch["pixel_values_videos"], batch["frame_mask"])
        sentence_embeds, word_embeds, word_weights = text
        frame_embeds, frame_mask = video
        assert sentence_embeds.shape == (3, 32) and word_embeds.shape == (3, 7, 32) and word_weights.shape == (3, 7)
        assert frame_embeds.shape == (3, 4, 32) and frame_mask.shape == (3, 4)
        output = model(**batch)
        torch.testing.assert_close(output.logits_per_text, 100 * dmae_similarity(*text, *video))
        assert output.loss is None
        again = model(text_features=text, video_features=video)
        torch.testing.assert_close(again.logits_per_text, output.logits_per_text)
        assert output.text_features.word_embeds.equal(output.word_embeds)
        assert output.video_features.frame_mask.equal(output.frame_mask)


def test_wrong_texts_are_negatives_of_every_video():
    model, batch = tiny_model(tpm_predictor=None), tiny_batch()
    texts = ("input_ids", "attention_mask", "word_weights")
    wrong = {name: batch[name][:2].clone() for name in texts}
    wrong["input_ids"][:, 1] += 1
    output = model(**batch, wrong_texts=wrong, return_loss=True)
    assert output.logits_per_text.shape == (3, 3) and len(output.wrong_texts.word_embeds) == 2
    features = model.get_text_features(**wrong)
    similarity = model.similarity(features, output.video_features)
    expected = negnce_loss(output.logits_per_text / 100, wrong_texts=similarity)
    torch.testing.assert_close(output.loss, expected)
    assert not torch.isclose(expected, model(**batch, return_loss=True).loss)
    torch.testing.assert_close(model(**batch, wrong_texts=features, return_loss=True).loss, output.loss)
    with pytest.raises(ValueError, match="wrong_texts must have input_ids, attention_mask, word_weights of 7 tokens"):
        model(**batch, wrong_texts={name: value[:, :6] for name, value in wrong.items()}, return_loss=True)
    with pytest.raises(ValueError, match="must be a square matrix of matched pairs"):
        model(**batch | {name: torch.cat([batch[name], wrong[name]]) for name in texts}, return_loss=True)


def test_gathered_rows_enter_the_loss():
    model, batch = tiny_model(tpm_predictor=None), tiny_batch()

    def twice(text, video):
        return tuple(type(f)(*(torch.cat([t, t.flip(0)]) for t in f)) for f in (text, video))

    output = model(**batch, gather=twice, return_loss=True)
    assert output.logits_per_text.shape == (6, 6)
    torch.testing.assert_close(output.loss, negnce_loss(output.logits_per_text / 100))
    assert model(**batch, return_logits=False).logits_per_text is None


@given(words=st.integers(0, 5), frames=st.integers(0, 3), variant=st.sampled_from(VARIANTS))
@settings(max_examples=15, deadline=None)
def test_padding_a_batch_never_changes_logits_or_loss(words, frames, variant):
    # Six frames and more words than the batch has leave room for the padding.
    model, batch = tiny_model(**{**variant, "num_frames": 8}), tiny_batch()
    with torch.no_grad():
        plain = model(**batch, return_loss=True)
        padded = dict(batch)
        for name in ("input_ids", "attention_mask", "word_weights"):
            padded[name] = F.pad(batch[name], (0, words), value=1 if name == "word_weights" else 0)
        padded["pixel_values_videos"] = F.pad(batch["pixel_values_videos"], (0,) * 7 + (frames,), value=3.0)
        padded["frame_mask"] = F.pad(batch["frame_mask"], (0, frames))
        found = model(**padded, return_loss=True)
    torch.testing.assert_close(found.logits_per_text, plain.logits_per_text, atol=2e-4, rtol=0)
    torch.testing.assert_close(found.loss, plain.loss, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "+".join(o) or "default")
def test_save_and_load_round_trip(tmp_path, options):
    model, batch = tiny_model(**options), tiny_batch()
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded, report = DmaeModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    with torch.no_grad():
        assert loaded(**batch).logits_per_text.equal(model(**batch).logits_per_text)


@pytest.mark.parametrize("through", ["model", "auto"])
def test_a_checkpoint_whose_attention_has_query_and_key_layers_loads_as_what_it_is(tmp_path, through):
    """Before the released predictor was here, "attention" was the name of ours."""
    model = tiny_model(tpm_predictor="projected_attention")
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**written, "tpm_predictor": "attention"}))
    if through == "auto":
        loaded = AutoModel.from_pretrained(tmp_path, trust_remote_code=True)
    else:
        loaded, report = DmaeModel.from_pretrained(tmp_path, tpm_margin=0.2, output_loading_info=True)
        assert loaded.config.tpm_margin == 0.2 and not report["missing_keys"] and not report["unexpected_keys"]
    assert loaded.config.tpm_predictor == "projected_attention"
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].equal(value), name
    other = DmaeModel.from_pretrained(tmp_path, tpm_predictor="attention")  # who asks for another gets another
    assert type(other.word_predictor) is AttentionTokenWeightPredictor


def test_weights_missing_from_a_checkpoint_are_initialised(tmp_path):
    """transformers 5 loads on the meta device: what `_init_weights` does not set would be garbage."""
    tiny_model(tpm_predictor=None).save_pretrained(tmp_path)
    options = {"temporal_layers": 1, "learned_token_weights": True, "learn_logit_scale": True}
    config = tiny_config(**options, logit_scale=50.0)
    loaded, report = DmaeModel.from_pretrained(tmp_path, config=config, output_loading_info=True)
    assert len(report["missing_keys"]) > 20
    assert loaded.scale.item() == pytest.approx(50.0)
    assert loaded.word_weight_head.weight.eq(0).all()
    assert loaded.word_predictor.norm.weight.eq(1).all()
    for name, parameter in loaded.named_parameters():
        assert parameter.isfinite().all() and parameter.abs().max() < 60, name


@pytest.mark.parametrize(("start", "moves"), [(100.0, (False, True)), (150.0, (False, True)), (50.0, (True, True))])
def test_the_learned_scale_is_capped_and_can_come_down(start, moves):
    """A clamp's gradient would be 0 at the cap, which exp(log 100) passes by a rounding error."""
    model = tiny_model(learn_logit_scale=True, logit_scale=start)
    assert model.scale.item() == pytest.approx(min(start, 100.0))
    for up, expected in zip((True, False), moves):
        model.zero_grad()
        (-model.scale if up else model.scale).backward()
        assert (model.logit_scale.grad.item() != 0) == expected


def test_new_weights_are_as_large_as_clips(tmp_path):
    """transformers skips modules of other packages that own no parameter, such as CLIP's attention in ours."""
    tiny_model(tpm_predictor=None).save_pretrained(tmp_path)
    options = {"temporal_layers": 1, "tpm_predictor": "linear"}
    fresh = tiny_model(**options)
    completed = DmaeModel.from_pretrained(tmp_path, **options)
    for model in (fresh, completed):
        layer, size = model.frame_transformer.encoder.layers[0], model.config.projection_dim
        deviations = {
            layer.self_attn.q_proj: (2 * size) ** -0.5,
            layer.self_attn.out_proj: size**-0.5,
            layer.mlp.fc1: (2 * size) ** -0.5,
            model.word_predictor.hidden: (2 * size) ** -0.5,
        }
        for linear, expected in deviations.items():
            assert linear.weight.std().item() == pytest.approx(expected, rel=0.15), linear
    fixed_scale = DmaeModel(tiny_config(learn_logit_scale=False))
    assert fixed_scale.visual_projection.weight.std().item() == pytest.approx(VISION["hidden_size"] ** -0.5, rel=0.15)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=32)).eval()
    folder = tmp_path_factory.mktemp("clip")
    model.save_pretrained(folder)
    return model, folder


def test_from_clip_has_clips_features(clip):
    reference, folder = clip
    model, batch = DmaeModel.from_clip(folder, num_frames=4, max_words=16), tiny_batch()
    with torch.no_grad():
        text = reference.get_text_features(batch["input_ids"]).pooler_output
        frames = reference.get_image_features(batch["pixel_values_videos"].flatten(0, 1)).pooler_output
        assert model.get_text_features(batch["input_ids"]).sentence_embeds.equal(F.normalize(text, dim=-1))
        found = model.get_video_features(batch["pixel_values_videos"]).frame_embeds.flatten(0, 1)
    torch.testing.assert_close(found, F.normalize(frames, dim=-1))


def test_from_clip_fills_the_frame_transformer_and_the_scale(clip):
    reference, folder = clip
    model = DmaeModel.from_clip(folder, temporal_layers=2, num_frames=4, max_words=16, learn_logit_scale=True)
    layers = zip(model.frame_transformer.encoder.layers, reference.text_model.encoder.layers)
    assert all(
        mine.equal(theirs) for a, b in layers for mine, theirs in zip(a.state_dict().values(), b.state_dict().values())
    )
    positions = reference.text_model.embeddings.position_embedding.weight
    assert model.frame_transformer.position_embedding.weight.equal(positions[:4])
    assert model.logit_scale.equal(reference.logit_scale)
    with pytest.raises(ValueError, match="temporal_layers=3 cannot be initialised"):
        DmaeModel.from_clip(folder, temporal_layers=3, num_frames=4, max_words=16)


def test_frame_order_matters_only_with_the_frame_transformer():
    batch = tiny_batch()
    for layers in (0, 1):
        model = tiny_model(temporal_layers=layers)
        with torch.no_grad():
            forwards = model(**batch).logits_per_text
            batch["pixel_values_videos"] = batch["pixel_values_videos"].flip(1)
            backwards = model(**batch).logits_per_text
        assert torch.allclose(forwards, backwards, atol=1e-4) == (layers == 0)


def test_frame_differences_show_what_has_changed_and_are_off_by_default():
    plain = tiny_model(temporal_layers=1)
    assert not any("difference" in name for name in plain.state_dict())
    model = tiny_model(temporal_layers=1, frame_differences=True)
    frames, mask = torch.randn(2, 4, 32), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.no_grad():
        model.frame_transformer.load_state_dict(plain.frame_transformer.state_dict(), strict=False)
        still = frames[:, :1].expand(-1, 4, -1)
        expected = plain.join_frames(still, mask).frame_embeds
        # Nothing changes, nothing is added.
        torch.testing.assert_close(model.join_frames(still, mask).frame_embeds, expected)
        whole = model.join_frames(frames, mask).frame_embeds
        assert not torch.allclose(whole, plain.join_frames(frames, mask).frame_embeds)
        other = torch.cat([frames[:, :3], torch.randn(2, 1, 32)], dim=1)  # padding changes nothing
        torch.testing.assert_close(model.join_frames(other, mask).frame_embeds[1, :3], whole[1, :3])


def test_vit_b32_size_checkpoint(tmp_path):
    """A randomly initialised CLIP of exactly ViT-B/32's size, through save and `from_clip`."""
    reference = CLIPModel(CLIPConfig()).eval()
    assert sum(p.numel() for p in reference.parameters()) == 151_277_313
    reference.save_pretrained(tmp_path)
    model = DmaeModel.from_clip(tmp_path).eval()
    ids = torch.tensor([[49406, 320, 1929, 49407]])
    with torch.no_grad():
        expected = F.normalize(reference.get_text_features(ids).pooler_output, dim=-1)
        torch.testing.assert_close(model.get_text_features(ids).sentence_embeds, expected, atol=1e-6, rtol=0)
        assert model(ids, None, torch.randn(1, 2, 3, 224, 224)).logits_per_text.isfinite().all()


def test_attention_implementation_reaches_the_towers():
    model = tiny_model(temporal_layers=1)
    assert {m.config._attn_implementation for m in (model, model.text_model, model.vision_model)} == {"sdpa"}
    batch = tiny_batch()
    with torch.no_grad():
        fast = model(**batch).logits_per_text
        model.set_attn_implementation("eager")
        assert model.vision_model.config._attn_implementation == "eager"
        torch.testing.assert_close(model(**batch).logits_per_text, fast, atol=1e-3, rtol=0)


def test_checkpointed_activations_give_the_same_gradient():
    batch, gradients = tiny_batch(), []
    for checkpointing in (False, True):
        model = tiny_model(temporal_layers=1).train()
        if checkpointing:
            model.activation_checkpointing_enable()
            assert model.vision_model.encoder.layers[0].gradient_checkpointing
        model(**batch, return_loss=True).loss.backward()
        gradients.append(total_gradient(model))
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_bf16_autocast_trains_and_keeps_logits_in_float32():
    model, batch = tiny_model(temporal_layers=1).train(), tiny_batch()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**batch, return_loss=True)
    assert output.logits_per_text.dtype == torch.float32
    output.loss.backward()
    assert all(g.isfinite().all() for g in total_gradient(model).values())
    model = tiny_model().to(torch.bfloat16)
    assert model(**batch).logits_per_text.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": None}, "give input_ids or text_features"),
        ({"pixel_values_videos": None}, "give pixel_values_videos or video_features"),
        ({"pixel_values_videos": torch.zeros(3, 3, 32, 32)}, r"got \(3, 3, 32, 32\)"),
        ({"frame_mask": torch.ones(3, 9)}, r"frame_mask has shape \(3, 9\)"),
        ({"word_weights": torch.ones(3, 9)}, r"word_weights has shape \(3, 9\)"),
        ({"input_ids": torch.ones(3, 41, dtype=torch.long)}, "at most 40 tokens"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        tiny_model()(**{**tiny_batch(), **change})


def test_the_linear_predictor_names_the_option_that_is_too_small():
    with pytest.raises(ValueError, match="num_frames=4 tokens, got 6"):
        tiny_model()(**tiny_batch(frames=6), return_loss=True)
    assert tiny_model(tpm_predictor=None)(**tiny_batch(frames=6), return_loss=True).loss.isfinite()


def test_checkpoints_of_other_types_are_refused(tmp_path, clip):
    _, clip_folder = clip
    with pytest.raises(ValueError, match="is a 'clip' checkpoint, not 'dmae'"):
        DmaeModel.from_pretrained(clip_folder)
    tiny_model().save_pretrained(tmp_path / "dmae")
    with pytest.raises(ValueError, match="not CLIP: use"):
        DmaeModel.from_clip(tmp_path / "dmae")
    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="'bert' checkpoint, not CLIP"):
        DmaeModel.from_clip(tmp_path / "bert")
    with pytest.raises(OSError):
        DmaeModel.from_clip(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "wrong",
    [{"loss": "triplet"}, {"tpm_predictor": "mlp"}, {"num_frames": 0}, {"tpm_threshold": 2}, {"max_words": 99}],
)
def test_the_config_refuses_what_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        tiny_config(**wrong)


def test_the_config_round_trips_its_sub_configs(tmp_path):
    config = tiny_config(neighbor_weight=0.25)
    config.save_pretrained(tmp_path)
    loaded = DmaeConfig.from_pretrained(tmp_path)
    assert loaded.neighbor_weight == 0.25
    assert (loaded.text_config.hidden_size, loaded.vision_config.patch_size) == (32, 16)
