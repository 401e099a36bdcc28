"""Work that the processes of a launch share: each takes its part, and what they found comes together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from dmae.modeling import VideoFeatures

from .distributed import gather_objects

T = TypeVar("T")
PIECE = 2**22  # numbers sent at once, so that a device needs no more than 16 MiB for what only passes through it


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
