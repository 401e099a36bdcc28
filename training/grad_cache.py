"""Large contrastive batches in the memory of small ones: features are cached, then recomputed piece by piece.

The loss is taken on the features of the whole batch, whose graph ends at the features; each piece then runs forward
again with gradient and receives its features' gradient (Gao et al., "Scaling Deep Contrastive Learning Batch Size
under Memory Limited Setup", arXiv:2101.06983). The gradients equal those of the whole batch at once.
"""

from collections.abc import Callable, Iterator, Sequence

import torch


def cached_backward(
    model: torch.nn.Module,
    inputs: dict,
    micro_batch_size: int,
    *,
    prepare: Callable[[dict], dict] = dict,
    gather: Callable | None = None,
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
    scale: float = 1.0,
):
    """Adds the gradients of the loss of a whole batch to the parameters, in pieces of `micro_batch_size` rows.

    Args:
        model: a DmaeModel, bare or wrapped. Under DDP call this inside `no_sync` and average the gradients after it.
        inputs: keyword arguments of its forward, each with one row per pair; `wrong_texts`, where there are any, with
            rows of their own.
        micro_batch_size: pairs of one piece, at most; wrong texts are cut into as many pieces.
        prepare: turns a piece into what forward takes, for example moves it to the device.
        gather: as in `DmaeModel.forward`.
        backward: runs the backward of the loss, for example `accelerator.backward`.
        scale: multiplies the loss, for example 1 over the number of accumulated batches.

    Returns:
        The output of forward for the whole batch, detached.
    """
    random_states, outputs = [], []
    pieces = list(_pieces(inputs, micro_batch_size))
    for piece in pieces:
        random_states.append(_random_state())
        with torch.no_grad():
            outputs.append(_features(model(**prepare(piece), return_logits=False)))
    after = _random_state()
    leaves = [_leaves(parts) for parts in zip(*outputs)]
    text, video, *wrong = leaves
    features = {"text_features": text, "video_features": video, "wrong_texts": wrong[0] if wrong else None}
    output = model(**features, gather=gather, return_loss=True)
    backward(output.loss * scale)

    gradients = [_gradient(leaf).tensor_split(len(pieces)) for part in leaves for leaf in part]
    for piece, state, wanted in zip(pieces, random_states, zip(*gradients)):
        _set_random_state(state)
        again = [feature for part in _features(model(**prepare(piece), return_logits=False)) for feature in part]
        gradients_of = {feature: gradient for feature, gradient in zip(again, wanted) if feature.requires_grad}
        torch.autograd.backward(list(gradients_of), list(gradients_of.values()))
    _set_random_state(after)
    return type(output)(**{name: value.detach() for name, value in output.items() if name != "wrong_texts"})


def _pieces(inputs: dict, size: int) -> Iterator[dict]:
    count = -(-len(inputs["pixel_values_videos"]) // size)
    wrong = inputs.get("wrong_texts")
    pairs = {name: value.tensor_split(count) for name, value in inputs.items() if name != "wrong_texts"}
    texts = {} if wrong is None else {name: value.tensor_split(count) for name, value in wrong.items()}
    for number in range(count):
        piece: dict = {name: parts[number] for name, parts in pairs.items()}
        if wrong is not None:
            piece["wrong_texts"] = {name: parts[number] for name, parts in texts.items()}
        yield piece


def _features(output) -> list:
    wrong = [] if output.wrong_texts is None else [output.wrong_texts]
    return [output.text_features, output.video_features, *wrong]


def _leaves(pieces: Sequence):
    return type(pieces[0])(*(torch.cat(parts).requires_grad_() for parts in zip(*pieces)))


def _gradient(leaf: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _random_state() -> tuple:
    """So that dropout falls alike in both passes."""
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None


def _set_random_state(state: tuple) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
