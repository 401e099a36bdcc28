"""Token shift against a plain reference; what it must not touch."""

import pytest
import torch
from dual_encoders import save_dual_encoder
from tiny import tiny_batch, tiny_config, tiny_model
from transformers import SiglipTextConfig, SiglipVisionConfig

from dmae.modeling import DmaeModel
from dmae.modeling.token_shift import frame_neighbours, shift_tokens


def shifted_one_by_one(videos: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
    """`(B, F, 1 + patches, W)`, in loops."""
    result, step = videos.clone(), max(videos.shape[2] // 7, 4)
    for video, (frames, mask) in enumerate(zip(videos, frame_mask)):
        for at in range(len(frames)):
            for token in range(1, frames.shape[1]):
                if at > 0 and mask[at] and mask[at - 1] and token % step == 1:
                    result[video, at, token] = frames[at - 1, token]
                if at + 1 < len(frames) and mask[at] and mask[at + 1] and token >= 4 and (token - 4) % step == 0:
                    result[video, at, token] = frames[at + 1, token]
    return result


MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])


@pytest.mark.parametrize(("tokens", "earlier", "later"), [(5, 1, 1), (50, 7, 7), (197, 7, 7)])
def test_some_patches_come_whole_from_the_frames_before_and_after(tokens, earlier, later):
    videos = torch.randn(3, 5, tokens, 6)
    found = shift_tokens(videos.flatten(0, 1), *frame_neighbours(MASK)).unflatten(0, (3, 5))
    assert found.equal(shifted_one_by_one(videos, MASK))
    assert found[:, :, 0].equal(videos[:, :, 0]), "class tokens stay"
    middle = found[0, 2]
    assert (middle == videos[0, 1]).all(dim=1).sum() == earlier and (middle == videos[0, 3]).all(dim=1).sum() == later


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_last_two_layers_of_the_tower_shift(checkpointing):
    model, batch = tiny_model(token_shift=True), tiny_batch(frames=5)
    if checkpointing:
        model.train().activation_checkpointing_enable()
    found = model.get_video_features(batch["pixel_values_videos"], MASK).frame_embeds

    tower = tiny_model().vision_model
    pixels = batch["pixel_values_videos"].flatten(0, 1)
    hidden = tower.pre_layrnorm(tower.embeddings(pixels))
    for layer in tower.encoder.layers:
        seen = shifted_one_by_one(layer.layer_norm1(hidden).unflatten(0, (3, 5)), MASK).flatten(0, 1)
        hidden = hidden + layer.self_attn(hidden_states=seen, attention_mask=None)[0]
        hidden = hidden + layer.mlp(layer.layer_norm2(hidden))
    expected = model.visual_projection(tower.post_layernorm(hidden[:, 0]))
    torch.testing.assert_close(found.flatten(0, 1), torch.nn.functional.normalize(expected, dim=-1))
    with torch.no_grad():
        plain = tiny_model().get_video_features(batch["pixel_values_videos"], MASK).frame_embeds
    assert not torch.allclose(found[0], plain[0], atol=1e-3)
    torch.testing.assert_close(found[2, :1], plain[2, :1])  # a video of one frame has no neighbour


def test_gradients_are_right_where_activations_are_recomputed_after_another_call():
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model(token_shift=True).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        first = model.get_video_features(tiny_batch(frames=5)["pixel_values_videos"], MASK).frame_embeds
        second = model.get_video_features(tiny_batch(batch=2, frames=3, seed=1)["pixel_values_videos"]).frame_embeds
        (first[..., 0].sum() + second[..., 1].sum()).backward()
        gradients.append(model.vision_model.embeddings.patch_embedding.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0])


def test_padding_and_saving_change_nothing(tmp_path):
    model, batch = tiny_model(token_shift=True), tiny_batch()
    assert model.state_dict().keys() == tiny_model().state_dict().keys()
    model.save_pretrained(tmp_path)
    padded = torch.nn.functional.pad(batch["pixel_values_videos"], (0,) * 7 + (2,), value=9.0)
    mask = torch.nn.functional.pad(batch["frame_mask"], (0, 2))
    with torch.no_grad():
        plain = model.get_video_features(batch["pixel_values_videos"]).frame_embeds
        torch.testing.assert_close(model.get_video_features(padded, mask).frame_embeds[:, :4], plain)
        assert DmaeModel.from_pretrained(tmp_path).get_video_features(batch["pixel_values_videos"])[0].equal(plain)


@pytest.mark.parametrize("model_type", ["metaclip_2", "altclip", "chinese_clip"])
def test_other_towers_with_a_class_token_shift_too(model_type, tmp_path):
    save_dual_encoder(model_type, tmp_path)
    video = torch.randn(1, 4, 3, 32, 32)
    with torch.no_grad():
        shifted, plain = (
            DmaeModel.from_dual_encoder(tmp_path, token_shift=on).eval().get_video_features(video).frame_embeds
            for on in (True, False)
        )
    assert (shifted - plain).abs().max() > 1e-3


def test_a_tower_without_a_class_token_is_refused():
    towers = {"text_config": SiglipTextConfig(), "vision_config": SiglipVisionConfig()}
    with pytest.raises(ValueError, match="token_shift needs a vision tower with a class token"):
        tiny_config(encoder="siglip", **towers, token_shift=True)
