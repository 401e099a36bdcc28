"""Features cached and recomputed in pieces against the whole batch at once."""

import pytest
import torch
from training_parts import gradients, random_inputs, relative_difference, tiny_model, with_wrong_texts
from two_process_step import CASES

from dmae.modeling import TextFeatures, VideoFeatures
from dmae.training.grad_cache import cached_backward


@pytest.mark.parametrize("size", [1, 3, 7, 20])
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_whole_batch(case, size):
    inputs = random_inputs(7, seed=1)
    model = tiny_model(**CASES[case])[0]
    expected = model(**inputs, return_loss=True)
    (expected.loss * 0.5).backward()
    theirs = gradients(model)
    model.zero_grad()
    output = cached_backward(model, inputs, size, scale=0.5)
    assert output.loss.item() == pytest.approx(expected.loss.item(), abs=1e-9)
    assert not output.loss.requires_grad
    assert relative_difference(gradients(model), theirs) < 1e-6


@pytest.mark.parametrize("size", [1, 2, 5])
def test_texts_of_no_video_come_along(size):
    model, inputs = tiny_model()[0], with_wrong_texts(random_inputs(5, seed=1), 3)
    expected = model(**inputs, return_loss=True)
    expected.loss.backward()
    theirs = gradients(model)
    model.zero_grad()
    assert cached_backward(model, inputs, size).loss.item() == pytest.approx(expected.loss.item(), abs=1e-9)
    assert relative_difference(gradients(model), theirs) < 1e-6


def test_dropout_falls_alike_in_both_passes():
    """Pieces of the batch draw other dropout than the whole, so the gradient is checked by finite differences."""
    model = tiny_model()[0]
    for layer in [*model.text_model.encoder.layers, *model.vision_model.encoder.layers]:
        layer.self_attn.dropout = 0.3
    inputs, weight = random_inputs(5, seed=2), model.text_projection.weight

    def loss():
        torch.manual_seed(4)
        model.zero_grad()
        return cached_backward(model, inputs, 2).loss.item()

    loss()
    gradient, direction = weight.grad.clone(), torch.randn(weight.shape, dtype=torch.float64)
    step = 1e-6
    weight.data += step * direction
    above = loss()
    weight.data -= 2 * step * direction
    below = loss()
    assert (above - below) / (2 * step) == pytest.approx((gradient * direction).sum().item(), rel=1e-4)


def test_random_state_goes_on_as_if_each_piece_had_run_once():
    model, states = tiny_model()[0], []
    for size in (2, 6):
        torch.manual_seed(0)
        cached_backward(model, random_inputs(6), size)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def saved_bytes(run) -> int:
    """The most bytes that autograd holds for the backward at one moment of `run()`."""
    held, peak, alive = 0, 0, {}

    class Saved:
        def __init__(self, tensor):
            nonlocal held, peak
            self.tensor, self.key = tensor, tensor.untyped_storage().data_ptr()
            alive[self.key] = alive.get(self.key, 0) + 1
            if alive[self.key] == 1:
                self.size = tensor.untyped_storage().nbytes()
                held += self.size
                peak = max(peak, held)
            else:
                self.size = tensor.untyped_storage().nbytes()

        def __del__(self):
            nonlocal held
            alive[self.key] -= 1
            if alive[self.key] == 0:
                held -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        run()
    return peak


def to_own_memory(piece):
    """As the loop does when it makes floats of bytes; a view would count as the batch that it looks into."""
    return {name: value.clone() for name, value in piece.items()}


def test_memory_is_that_of_a_piece():
    """Eight times the batch, in pieces: no more is held for the backward than for a piece and for the loss."""
    model = tiny_model(vision_layers=2, image_size=64)[0]
    whole, piece = random_inputs(64, size=64), random_inputs(8, size=64)
    small = saved_bytes(lambda: model(**piece, return_loss=True).loss.backward())
    cached = saved_bytes(lambda: cached_backward(model, whole, 8, prepare=to_own_memory))
    at_once = saved_bytes(lambda: model(**whole, return_loss=True).loss.backward())
    output = model(**whole, return_logits=False)
    text = TextFeatures(*(feature.detach().requires_grad_() for feature in output.text_features))
    video = VideoFeatures(*(feature.detach().requires_grad_() for feature in output.video_features))
    features = {"text_features": text, "video_features": video}
    loss = saved_bytes(lambda: model(**features, return_loss=True).loss.backward())
    assert at_once > 6 * small
    assert cached < 1.05 * (small + loss) and cached < at_once / 2
