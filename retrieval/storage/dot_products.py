"""Dot products of a few queries with very many stored vectors, in the number format that this processor does best."""

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
