"""Converting checkpoints in OpenAI's CLIP names: the features must be those of the code that wrote them."""

import argparse
import json
import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dmae.modeling import load_pretrained
from dmae.training.commands import convert as command
from dmae.training.release.convert import ConversionError, convert, load_state_dict
from dmae.training.synthetic.init import make_tokenizer

WIDTH, DIM, PATCH, GRID, WORDS, TOKENS, POSITIONS = 128, 64, 8, 3, 16, 50, 20


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """A pre-norm transformer layer under OpenAI's names."""

    def __init__(self, width):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        parts = {"c_fc": nn.Linear(width, 4 * width), "gelu": QuickGELU(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(parts))

    def forward(self, x, mask=None):
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, layers):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width) for _ in range(layers))

    def forward(self, x, mask=None):
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Vision(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn(GRID**2 + 1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = Transformer(WIDTH, 2)
        self.proj = nn.Parameter(torch.randn(WIDTH, DIM))

    def forward(self, pixels):
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(len(patches), 1, WIDTH), patches], dim=1)
        return self.ln_post(self.transformer(self.ln_pre(tokens + self.positional_embedding))[:, 0]) @ self.proj


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = Vision()
        self.transformer = Transformer(DIM, 3)
        self.token_embedding = nn.Embedding(TOKENS, DIM)
        self.positional_embedding = nn.Parameter(torch.randn(POSITIONS, DIM))
        self.ln_final = nn.LayerNorm(DIM)
        self.text_projection = nn.Parameter(torch.randn(DIM, DIM))
        self.logit_scale = nn.Parameter(torch.tensor(3.0))

    def words(self, ids):
        causal = torch.full((ids.shape[1], ids.shape[1]), float("-inf")).triu(1)
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        return self.ln_final(self.transformer(x, causal)) @ self.text_projection


class Clip4Clip(nn.Module):
    """CLIP4Clip's "seqTransf": a transformer over the frames, added to its input."""

    def __init__(self):
        super().__init__()
        self.clip = Clip()
        self.frame_position_embeddings = nn.Embedding(10, DIM)
        self.transformerClip = Transformer(DIM, 2)
        self.frame2t_attention = nn.Linear(DIM, DIM)  # of another code: has no place in ours

    def frames(self, pixels):
        frames = self.clip.visual(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        return frames + self.transformerClip(frames + self.frame_position_embeddings.weight[: frames.shape[1]])


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    model = Clip4Clip().eval()
    for name, parameter in model.named_parameters():
        if "ln_" in name or name.endswith("bias"):  # otherwise ones and zeros, which hide a swap
            nn.init.normal_(parameter, 1.0 if name.endswith("weight") else 0.0, 0.3)
    return model


def unit(x):
    return nn.functional.normalize(x, dim=-1)


def check_features(model, source, frames):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, TOKENS - 2, (5, WORDS), generator=generator)
    lengths = torch.tensor([4, 16, 9, 2, 7])
    for row, length in enumerate(lengths):
        ids[row, 0], ids[row, length - 1], ids[row, length:] = TOKENS - 2, TOKENS - 1, 0
    mask = (torch.arange(WORDS) < lengths[:, None]).long()
    pixels = torch.randn(3, 6, 3, PATCH * GRID, PATCH * GRID, generator=generator)
    with torch.no_grad():
        text, video = model.get_text_features(ids, mask), model.get_video_features(pixels)
        words, clip = unit(source.clip.words(ids)), unit(frames(pixels))
    real = mask.bool()
    torch.testing.assert_close(text.word_embeds[real], words[real], rtol=0, atol=2e-5)
    torch.testing.assert_close(text.sentence_embeds, words[range(5), lengths - 1], rtol=0, atol=2e-5)
    torch.testing.assert_close(video.frame_embeds, clip, rtol=0, atol=2e-5)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_clip4clip_gives_the_same_features(source, prefix):
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    conversion = convert(state, num_frames=8)
    assert conversion.unused == (f"{prefix}frame2t_attention.bias", f"{prefix}frame2t_attention.weight")
    config = conversion.model.config
    assert (config.temporal_layers, config.num_frames, config.max_words) == (2, 8, POSITIONS)
    assert config.logit_scale == pytest.approx(20.0855, abs=1e-3)
    check_features(conversion.model, source, source.frames)
    assert all(name.startswith(("word_predictor", "frame_predictor")) for name in conversion.new)


@pytest.mark.parametrize("prefix", ["", "clip.", "model.clip."])
def test_a_bare_clip_gives_the_same_features(source, prefix):
    state = {prefix + name: tensor.half().float() for name, tensor in source.clip.state_dict().items()}
    conversion = convert(state)
    assert conversion.unused == () and conversion.model.config.temporal_layers == 0
    source.clip.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    check_features(conversion.model, source, lambda x: source.clip.visual(x.flatten(0, 1)).unflatten(0, x.shape[:2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("clip.visual.ln_post.bias"), "lacks 1 weights of CLIP; the first would be vision_"),
        (lambda state: state.pop("clip.text_projection"), "lacks a part of CLIP.*text_projection"),
        (lambda state: state.pop("transformerClip.resblocks.1.ln_1.bias"), "lacks 1 .*frame_transformer"),
        (lambda state: state.update({"clip.ln_final.weight": torch.ones(3)}), r"final_layer_norm.* shape \(3,\)"),
        (lambda state: state.pop("clip.visual.conv1.weight"), "no CLIP under OpenAI's names here"),
        (lambda state: state.clear(), "there is nothing"),
    ],
)
def test_an_incomplete_checkpoint_is_refused_by_name(source, change, message):
    state = dict(source.state_dict())
    change(state)
    with pytest.raises(ConversionError, match=message):
        convert(state, num_frames=8)


def test_other_kinds_of_clip_are_named(source):
    with pytest.raises(ConversionError, match="ResNet"):
        convert({"clip.visual.layer1.0.conv1.weight": torch.ones(1)})
    with pytest.raises(ConversionError, match="from_clip"):
        convert({"vision_model.embeddings.patch_embedding.weight": torch.ones(1)})
    with pytest.raises(ConversionError, match="positions for 10 frames"):
        convert(source.state_dict(), num_frames=11)


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def test_files_are_read_without_running_what_is_in_them(source, tmp_path):
    state = source.state_dict()
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "wrapped.pt")
    save_file(state, tmp_path / "plain.safetensors")
    for name in ("wrapped.pt", "plain.safetensors"):
        loaded = load_state_dict(tmp_path / name)
        assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], state[key]) for key in state)
    torch.save({"state_dict": state, "hook": Malicious()}, tmp_path / "bad.pt")
    (tmp_path / "raw.bin").write_bytes(pickle.dumps(Malicious()))
    (tmp_path / "torn.pt").write_bytes((tmp_path / "wrapped.pt").read_bytes()[:5000])
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "plain.safetensors").read_bytes()[:5000])
    (tmp_path / "empty.pt").touch()
    torch.save([1, 2], tmp_path / "list.pt")
    expected = {"bad.pt": "refused", "raw.bin": "refused", "list.pt": "holds a list", "gone.pt": "not there"}
    for name in ("bad.pt", "raw.bin", "torn.pt", "torn.safetensors", "empty.pt", "list.pt", "gone.pt"):
        with pytest.raises(ConversionError, match=expected.get(name, "torn")) as caught:
            load_state_dict(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_command_writes_a_model_that_loads_and_lists_what_it_left(source, tmp_path, capsys):
    words = ["red", "circle", "moves"]
    tokenizer = make_tokenizer(words)
    state = source.state_dict()
    embedding = state["clip.token_embedding.weight"]
    state["clip.token_embedding.weight"] = torch.randn(len(tokenizer), embedding.shape[1])
    torch.save(state, tmp_path / "pytorch_model.bin.4")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    parser = argparse.ArgumentParser()
    command.configure(parser)
    call = [str(tmp_path / "pytorch_model.bin.4"), str(tmp_path / "model"), "--tokenizer", str(tmp_path / "tokenizer")]
    assert command.run(parser.parse_args([*call, "--num-frames", "6"])) == 0
    out, err = capsys.readouterr()
    assert "not used: frame2t_attention.weight" in err and "2 layers over the frames" in out
    model, processor = load_pretrained(tmp_path / "model")
    assert model.config.temporal_layers == 2
    assert (processor.video_processor.num_frames, processor.video_processor.sampling) == (6, "per_second")
    assert command.run(parser.parse_args([*call, "--num-frames", "6", "--json"])) == 0
    assert json.loads(capsys.readouterr().out)["unused"] == ["frame2t_attention.bias", "frame2t_attention.weight"]
    state["clip.token_embedding.weight"] = embedding
    torch.save(state, tmp_path / "pytorch_model.bin.4")
    with pytest.raises(ConversionError, match="--tokenizer"):
        command.run(parser.parse_args([*call, "--num-frames", "6"]))
