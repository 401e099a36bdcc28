"""Very many vectors in memory: dot products with a few queries in the number format that this processor does best, and
rows that are appended."""

import torch

BLOCK = 2048  # rows made float at a time: as many as a core's own cache holds


def int8_is_fast() -> bool:
    """Whether the processor has instructions for products of int8 (VNNI); without them they are a plain loop."""
    return torch.cpu._is_vnni_supported()


def quantise(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`(N, D)` floats as int8, and the `(N,)` scales that multiply it back."""
    scales = (vectors.abs().amax(1) / 127).clamp(min=1e-12)
    return (vectors / scales[:, None]).round().to(torch.int8), scales


def multiply(rows: torch.Tensor, vectors: torch.Tensor, scales: torch.Tensor | None = None) -> torch.Tensor:
    """`(A, N)` float32 dot products of `(N, D)` stored rows and `(A, D)` float32 vectors.

    Args:
        rows: of a float type, or int8 with its `(N,)` scales; the vectors are rounded to float16 or int8 where the
            products are then much faster.
    """
    if rows.dtype == torch.int8 and int8_is_fast():
        vectors, vector_scales = quantise(vectors)
        product = torch._int_mm(vectors, rows.t())  # pyright: ignore[reportPrivateImportUsage]
        products = product.float().mul_(vector_scales[:, None])
    elif len(vectors) == 1 and rows.dtype == torch.float16:
        products = (rows @ vectors[0].half()).float()[None]
    else:
        products = torch.empty(len(vectors), len(rows))
        for start in range(0, len(rows), BLOCK):
            products[:, start : start + BLOCK] = vectors @ rows[start : start + BLOCK].float().t()
    return products if scales is None else products.mul_(scales)


class GrowingArray:
    """Rows appended to one contiguous tensor. Spare room is address space that no page backs until it is written."""

    def __init__(self, width: tuple[int, ...], dtype: torch.dtype):
        self._data = torch.empty(0, *width, dtype=dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def reserve(self, rows: int) -> None:
        if rows > len(self._data):
            grown = torch.empty(rows, *self._data.shape[1:], dtype=self._data.dtype)
            grown[: self._length] = self.rows
            self._data = grown

    def append(self, rows: torch.Tensor) -> None:
        stop = self._length + len(rows)
        if stop > len(self._data):
            self.reserve(max(stop, 2 * len(self._data)))
        self._data[self._length : stop] = rows
        self._length = stop

    @property
    def rows(self) -> torch.Tensor:
        return self._data[: self._length]

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes


class VectorArray(GrowingArray):
    """Vectors of one dimension, of a float type or int8 with a scale each."""

    def __init__(self, dim: int, dtype: torch.dtype):
        super().__init__((dim,), dtype)
        self._scales = GrowingArray((), torch.float32) if dtype == torch.int8 else None

    def reserve(self, rows: int) -> None:
        super().reserve(rows)
        if self._scales is not None:
            self._scales.reserve(rows)

    def append(self, rows: torch.Tensor, scales: torch.Tensor | None = None) -> None:
        super().append(rows)
        if self._scales is not None and scales is not None:
            self._scales.append(scales)

    def __getitem__(self, positions: torch.Tensor) -> torch.Tensor:
        """`(P, D)` float32 vectors at these positions."""
        vectors = self.rows.index_select(0, positions).float()
        return vectors if self._scales is None else vectors.mul_(self._scales.rows[positions][:, None])

    def multiply(self, vectors: torch.Tensor, at: slice | torch.Tensor = slice(None)) -> torch.Tensor:
        """`(A, N)` dot products with `(A, D)` vectors, of all, or of those in a slice or at some positions."""
        pick = (lambda rows: rows[at]) if isinstance(at, slice) else (lambda rows: rows.index_select(0, at))
        return multiply(pick(self.rows), vectors, None if self._scales is None else pick(self._scales.rows))

    @property
    def nbytes(self) -> int:
        return super().nbytes + (0 if self._scales is None else self._scales.nbytes)
