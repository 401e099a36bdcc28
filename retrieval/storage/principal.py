"""Vectors in memory along the directions in which they vary most, so that a quarter of each tells most apart."""

import torch

from .vectors import VectorArray, quantise

FEWEST_DIMENSIONS = 128  # of vectors that are worth dividing
LEADING_SHARE = 4  # one dimension in so many leads
SAMPLE = 2048  # vectors that the directions are found from


class PrincipalVectors:
    """`(N, D)` vectors, less their mean, turned into the principal directions of the first that are appended.

    The leading dimensions are stored apart: their dot products read a quarter of the memory and are close to the whole
    ones. Directions that do not fit later vectors make them less close; whole products are right with any.

    Attributes:
        divided: whether there is more than the leading part.
    """

    def __init__(self, dim: int, dtype: torch.dtype):
        self.divided = dim >= FEWEST_DIMENSIONS
        self._dim, self._dtype = dim, dtype
        lead = dim // LEADING_SHARE if self.divided else dim
        self._leading, self._others = VectorArray(lead, dtype), VectorArray(dim - lead, dtype)
        self._mean = torch.zeros(dim)
        self._directions: torch.Tensor | None = None  # (D, D), a column each, the leading ones first

    def __len__(self) -> int:
        return len(self._leading)

    @property
    def _arrays(self) -> tuple[VectorArray, ...]:
        return (self._leading, self._others) if self.divided else (self._leading,)

    def reserve(self, rows: int) -> None:
        for array in self._arrays:
            array.reserve(rows)

    def append(self, vectors: torch.Tensor) -> None:
        """Adds `(N, D)` vectors of a float type."""
        vectors = vectors.float()
        if self.divided and self._directions is None and len(vectors):
            self._mean, self._directions = principal_directions(vectors)
        for array, part in zip(self._arrays, self._parts(vectors - self._mean)):
            array.append(*quantise(part) if self._dtype == torch.int8 else (part.to(self._dtype),))

    def __getitem__(self, positions: torch.Tensor) -> torch.Tensor:
        """`(P, D)` float32 vectors at these positions."""
        turned = torch.cat([array[positions] for array in self._arrays], dim=1)
        return (turned if self._directions is None else turned @ self._directions.t()) + self._mean

    def multiply(self, vectors: torch.Tensor, at: slice | torch.Tensor = slice(None)) -> torch.Tensor:
        """`(A, N)` dot products with `(A, D)` vectors, of all, or of those in a slice or at some positions."""
        products = [array.multiply(part, at) for array, part in zip(self._arrays, self._parts(vectors))]
        return sum(products[1:], products[0]).add_((vectors @ self._mean)[:, None])

    def multiply_leading(self, vectors: torch.Tensor) -> torch.Tensor:
        """`(A, N)`: `multiply`, as far as the leading dimensions tell."""
        return self._leading.multiply(self._parts(vectors)[0]).add_((vectors @ self._mean)[:, None])

    def _parts(self, vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        turned = vectors if self._directions is None else vectors @ self._directions
        return turned.tensor_split([self._leading.rows.shape[1]], dim=1) if self.divided else (turned,)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays)


def principal_directions(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean `(D,)` of `(N, D)` vectors and their principal directions `(D, D)`, a column each, leading first."""
    sample = vectors[:: max(1, len(vectors) // SAMPLE)]
    mean = sample.mean(dim=0)
    centred = sample - mean
    return mean, torch.linalg.eigh(centred.t() @ centred).eigenvectors.flip(1).contiguous()
