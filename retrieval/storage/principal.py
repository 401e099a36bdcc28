"""Vectors in memory, and beside them their leading parts: few numbers of each that tell most of them apart."""

import torch

from .vectors import VectorArray, quantise

FEWEST_DIMENSIONS = 128  # of vectors that are worth it
LEADING_SHARE = 4  # one number for so many dimensions
LEAST_TOLD = 0.6  # of how vectors vary, by their leading parts: less, and nearly all whole ones must be read as well
SAMPLE = 2048  # vectors that the directions are found from


class PrincipalVectors:
    """`(N, D)` vectors, and what each, less their mean, has along the D/4 directions in which the first that were
    appended vary most, where that is most of how they vary.

    Products with the leading parts read a quarter of the memory and come close to the whole ones. Directions that do
    not fit later vectors bring them less close.

    Attributes:
        have_leading: whether there are leading parts.
    """

    def __init__(self, dim: int, dtype: torch.dtype):
        self.have_leading = False
        self._dtype = dtype
        self._whole, self._leading = VectorArray(dim, dtype), VectorArray(dim // LEADING_SHARE, dtype)
        self._mean = torch.zeros(dim)
        self._directions = torch.zeros(dim, dim // LEADING_SHARE)  # a column each

    def __len__(self) -> int:
        return len(self._whole)

    def reserve(self, rows: int) -> None:
        self._whole.reserve(rows)
        self._leading.reserve(rows)

    def append(self, vectors: torch.Tensor) -> None:
        """Adds `(N, D)` vectors of a float type."""
        vectors = vectors.float()
        if not len(self) and len(vectors) and vectors.shape[1] >= FEWEST_DIMENSIONS:
            self._mean, directions, variances = principal_directions(vectors)
            leading = self._leading.rows.shape[1]
            self.have_leading = bool(variances[:leading].sum() >= LEAST_TOLD * variances.sum())
            self._directions = directions[:, :leading].contiguous()
        self._add(self._whole, vectors)
        if self.have_leading:
            self._add(self._leading, (vectors - self._mean) @ self._directions)

    def _add(self, array: VectorArray, vectors: torch.Tensor) -> None:
        array.append(*quantise(vectors) if self._dtype == torch.int8 else (vectors.to(self._dtype),))

    def __getitem__(self, positions: torch.Tensor) -> torch.Tensor:
        """`(P, D)` float32 vectors at these positions."""
        return self._whole[positions]

    def multiply(self, vectors: torch.Tensor, at: slice | torch.Tensor = slice(None)) -> torch.Tensor:
        """`(A, N)` dot products with `(A, D)` vectors, of all, or of those in a slice or at some positions."""
        return self._whole.multiply(vectors, at)

    def multiply_leading(self, vectors: torch.Tensor) -> torch.Tensor:
        """`(A, N)`: `multiply`, as far as the leading parts tell."""
        return self._leading.multiply(vectors @ self._directions).add_((vectors @ self._mean)[:, None])

    @property
    def nbytes(self) -> int:
        return self._whole.nbytes + self._leading.nbytes


def principal_directions(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The mean `(D,)` of `(N, D)` vectors, their principal directions `(D, D)`, a column each, and how much they vary
    along each, `(D,)`, most first."""
    sample = vectors[:: max(1, len(vectors) // SAMPLE)]
    mean = sample.mean(dim=0)
    centred = sample - mean
    found = torch.linalg.eigh(centred.t() @ centred)
    return mean, found.eigenvectors.flip(1), found.eigenvalues.flip(0).clamp(min=0)
