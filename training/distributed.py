"""Features of all processes on every process, with the gradient that the loss of the whole batch would give."""

from itertools import islice

import torch
import torch.distributed as dist
from torch.nn import functional as F

from dmae.modeling import TextFeatures, VideoFeatures


def gather_features(*features: TextFeatures | VideoFeatures) -> tuple:
    """The rows of all processes in the order of their ranks, of each kind of features; pass it to
    `DmaeModel.forward(gather=…)`. All processes must give the same kinds, some may give no row of one.

    Processes may hold different numbers of rows, tokens and frames: tokens and frames are padded with weight 0, which
    changes no score. Every process then computes the loss of the whole batch, and the average that DDP and FSDP take
    of the processes' gradients is exactly the gradient of one process holding it all.
    """
    if not _several():
        return features
    rows = map(torch.cat, _gather_blocks(*(tensor for kind in features for tensor in kind)))
    return tuple(type(kind)(*islice(rows, len(kind))) for kind in features)


def _gather_blocks(*tensors: torch.Tensor) -> list[list[torch.Tensor]]:
    """Each of the tensors as every process has it, in the order of their ranks."""
    sizes = [size for tensor in tensors for size in tensor.shape]
    everyone = _all_gather(torch.tensor(sizes, device=tensors[0].device))
    everyone = torch.stack(everyone).tolist()
    gathered, start = [], 0
    packed, rows, shapes = [], [], []
    for tensor in tensors:
        mine = [sizes[start : start + tensor.ndim] for sizes in everyone]
        start += tensor.ndim
        longest = [max(size) for size in zip(*mine)]
        packed.append(_pad(tensor, longest).flatten())
        rows.append([size[0] for size in mine])
        shapes.append(longest)
    dtype = torch.result_type(packed[0], packed[-1])
    flat = _GatherRows.apply(torch.cat([part.to(dtype) for part in packed]))
    start = 0
    for tensor, shape, counts in zip(tensors, shapes, rows):
        length = torch.Size(shape).numel()
        blocks = flat[:, start : start + length].unflatten(1, shape).to(tensor.dtype)
        gathered.append([block[:count] for block, count in zip(blocks, counts)])
        start += length
    return gathered


class _GatherRows(torch.autograd.Function):
    """`(L,)` of this process -> `(processes, L)`.

    Backward sums the gradients of all processes' losses and takes one's own part: W times the gradient of the mean
    loss, where W is the number of processes. DDP and FSDP divide by W.
    """

    @staticmethod
    def forward(ctx, row: torch.Tensor) -> torch.Tensor:
        return torch.stack(_all_gather(row))

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[dist.get_rank()]


def _all_gather(tensor: torch.Tensor) -> list[torch.Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return parts


def _pad(tensor: torch.Tensor, shape: list[int]) -> torch.Tensor:
    padding = [amount for have, want in zip(reversed(tensor.shape), reversed(shape)) for amount in (0, want - have)]
    return F.pad(tensor, padding)


def average_gradients(model: torch.nn.Module) -> None:
    """What DDP does at the end of a backward, for gradients that were added up under `no_sync`."""
    if not _several():
        return
    for parameter in model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()


def broadcast_weights(model: torch.nn.Module) -> None:
    """Gives every process the parameters and buffers of the first."""
    if _several():
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.data, 0)


def highest(number: int, device: torch.device) -> int:
    """The largest of all processes' numbers."""
    if not _several():
        return number
    tensor = torch.tensor(number, device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor)


def gather_objects(item) -> list:
    """The items of all processes in the order of their ranks."""
    if not _several():
        return [item]
    items = [None] * dist.get_world_size()
    dist.all_gather_object(items, item)
    return items


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
