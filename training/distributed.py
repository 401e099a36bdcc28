"""What the processes of a launch do together.

In training, features of all processes on every process, with the gradient that the loss of the whole batch would give;
elsewhere work that is shared out, of which each takes its part, and what they found comes together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.nn import functional as F

from dmae.modeling import TextFeatures, VideoFeatures

T = TypeVar("T")
PIECE = 2**22  # numbers sent at once, so that a device needs no more than 16 MiB for what only passes through it


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


@dataclass(frozen=True)
class Processes:
    """The processes among which work is dealt out like cards: number `index` of `count` takes `items[index::count]`.

    By default one process does it all, whatever launch it is part of. All of them must call the methods that gather,
    in the same order.

    Args:
        device: where this process's tensors travel from: a GPU with NCCL, the CPU with gloo.
    """

    index: int = 0
    count: int = 1
    device: torch.device | str = "cpu"

    @classmethod
    def of(cls, state) -> "Processes":
        """Those of an `Accelerator` or a `PartialState`."""
        return cls(state.process_index, state.num_processes, state.device)

    @property
    def main(self) -> bool:
        return self.index == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.index :: self.count]

    def gather(self, item: T) -> list[T]:
        """Everyone's small item, on every process."""
        return gather_objects(item) if self.count > 1 else [item]

    def whole(self, rows: torch.Tensor | None) -> torch.Tensor | None:
        """On the main process the rows of all, as one process would have them; elsewhere None. `rows`: those of this
        process's share, None where its share is empty."""
        if self.count == 1:
            return rows
        parts = self._parts(rows, keep=self.main)
        if not self.main:
            return None
        found = [part for part in parts if part is not None]
        whole = found[0].new_empty(sum(map(len, found)), *found[0].shape[1:])
        for index, part in enumerate(parts):
            if part is not None:
                whole[index :: self.count] = part
        return whole

    def videos_of_all(self, video: VideoFeatures | None) -> VideoFeatures:
        """On every process the features of all, process after process."""
        frames, mask = (None, None) if video is None else video
        parts = zip(self._parts(frames), self._parts(mask))
        whole = [VideoFeatures(f, m) for f, m in parts if f is not None and m is not None]
        return VideoFeatures.cat(whole)

    def _parts(self, rows: torch.Tensor | None, keep: bool = True) -> list[torch.Tensor | None]:
        """Each process's tensor on the CPU (without `keep`, only one's own)."""
        if self.count == 1:
            return [rows]
        parts: list[torch.Tensor | None] = []
        for sender, form in enumerate(self.gather(None if rows is None else (rows.shape, rows.dtype))):
            part = None
            if form is not None:
                part = rows if sender == self.index else torch.empty(form[0], dtype=form[1]) if keep else None
                self._broadcast(part, form, sender)
            parts.append(part)
        return parts

    def _broadcast(self, part: torch.Tensor | None, form: tuple[torch.Size, torch.dtype], sender: int) -> None:
        """Sends `part`, or fills it; None lets it pass."""
        flat = None if part is None else part.view(-1)
        for start in range(0, form[0].numel(), PIECE):
            size = min(PIECE, form[0].numel() - start)
            if sender == self.index and flat is not None:
                piece = flat[start : start + size].to(self.device)
            else:
                piece = torch.empty(size, dtype=form[1], device=self.device)
            dist.broadcast(piece, sender)
            if sender != self.index and flat is not None:
                flat[start : start + size] = piece


ALONE = Processes()
