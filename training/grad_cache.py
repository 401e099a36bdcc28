"""Large contrastive batches in the memory of small ones: features are cached, then recomputed piece by piece.

The loss is taken on the features of the whole batch, whose graph ends at the features; each piece then runs forward
again with gradient and receives its features' gradient (Gao et al., "Scaling Deep Contrastive Learning Batch Size
under Memory Limited Setup", arXiv:2101.06983). The gradients equal those of the whole batch at once.
"""

from collections.abc import Callable, Iterator

import torch

from dmae.modeling import TextFeatures, VideoFeatures


def cached_backward(
    model: torch.nn.Module,
    inputs: dict[str, torch.Tensor],
    micro_batch_size: int,
    *,
    prepare: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = dict,
    gather: Callable | None = None,
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
    scale: float = 1.0,
):
    """Adds the gradients of the loss of a whole batch to the parameters, in pieces of `micro_batch_size` rows.

    Args:
        model: a DmaeModel, bare or wrapped. Under DDP call this inside `no_sync` and average the gradients after it.
        inputs: keyword arguments of its forward, each with one row per video or per text.
        micro_batch_size: videos of one piece, at most; texts are cut into as many pieces.
        prepare: turns a piece into what forward takes, for example moves it to the device.
        gather: as in `DmaeModel.forward`.
        backward: runs the backward of the loss, for example `accelerator.backward`.
        scale: multiplies the loss, for example 1 over the number of accumulated batches.

    Returns:
        The output of forward for the whole batch, detached.
    """
    random_states, text_pieces, video_pieces = [], [], []
    for piece in _pieces(inputs, micro_batch_size):
        random_states.append(_random_state())
        with torch.no_grad():
            output = model(**prepare(piece), return_logits=False)
        text_pieces.append(output.text_features)
        video_pieces.append(output.video_features)
    after = _random_state()
    text, video = _leaves(TextFeatures, text_pieces), _leaves(VideoFeatures, video_pieces)
    output = model(text_features=text, video_features=video, gather=gather, return_loss=True)
    backward(output.loss * scale)

    gradients = zip(*(_gradient(leaf).tensor_split(len(random_states)) for leaf in (*text, *video)))
    for piece, state, wanted in zip(_pieces(inputs, micro_batch_size), random_states, gradients):
        _set_random_state(state)
        again = model(**prepare(piece), return_logits=False)
        features = (*again.text_features, *again.video_features)
        gradients_of = {feature: gradient for feature, gradient in zip(features, wanted) if feature.requires_grad}
        torch.autograd.backward(list(gradients_of), list(gradients_of.values()))
    _set_random_state(after)
    return type(output)(**{name: value.detach() for name, value in output.items()})


def _pieces(inputs: dict[str, torch.Tensor], size: int) -> Iterator[dict[str, torch.Tensor]]:
    count = -(-min(map(len, inputs.values())) // size)
    for piece in zip(*(value.tensor_split(count) for value in inputs.values())):
        yield dict(zip(inputs, piece))


def _leaves(kind: type, pieces: list) -> tuple:
    return kind(*(torch.cat(parts).requires_grad_() for parts in zip(*pieces)))


def _gradient(leaf: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _random_state() -> tuple:
    """So that dropout falls alike in both passes."""
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None


def _set_random_state(state: tuple) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
