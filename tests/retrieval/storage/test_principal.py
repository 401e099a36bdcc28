"""Vectors and their leading parts: whole products are right, leading ones are close."""

import pytest
import torch
from torch.nn.functional import normalize

from dmae.retrieval.storage import vectors as storage
from dmae.retrieval.storage.principal import PrincipalVectors, principal_directions


def alike(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    """Unit vectors around a common one, most of whose variance is in a tenth of the directions."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(9)))[0]
    spectrum = torch.where(torch.arange(dim) < dim // 10, 1.0, 0.1)
    return normalize((torch.randn(count, dim, generator=generator) * spectrum) @ turn + turn[0] * dim**0.5 / 3, dim=1)


@pytest.mark.parametrize("dim", [64, 160])
@pytest.mark.parametrize("dtype, error", [("int8", 0.02), ("float16", 0.002), ("float32", 1e-5)])
def test_products_and_vectors_are_those_of_what_was_appended(dim, dtype, error):
    if dtype == "int8" and not storage.int8_is_fast():
        pytest.skip("this processor has no int8 products")
    rows = torch.cat([alike(600, dim), normalize(torch.randn(50, dim, generator=torch.manual_seed(1)), dim=1)])
    held = PrincipalVectors(dim, getattr(torch, dtype))
    held.reserve(100)
    for part in (rows[:0], rows[:500], rows[500:]):
        held.append(part)
    assert len(held) == len(rows) and held.have_leading == (dim >= 128)
    vectors = 3 * torch.randn(3, dim, generator=torch.manual_seed(2))
    largest = float(vectors.norm(dim=1).max())
    positions = torch.tensor([649, 0, 7])
    for at in (slice(None), slice(10, 620), positions):
        assert float((held.multiply(vectors, at) - vectors @ rows[at].t()).abs().max()) < error * largest
    torch.testing.assert_close(held[positions], rows[positions], atol=error, rtol=0)


def test_the_leading_parts_tell_most_and_are_a_quarter():
    rows, vectors = alike(2000, 256), alike(5, 256, seed=3)
    held = PrincipalVectors(256, torch.float32)
    held.append(rows)
    whole, leading = held.multiply(vectors), held.multiply_leading(vectors)
    assert float((whole - leading).std()) < 0.3 * float(whole.std())
    assert held._leading.nbytes == rows.nbytes / 4 and held.nbytes == rows.nbytes * 1.25


def test_few_vectors_have_directions_too():
    rows = alike(3, 128)
    mean, directions, variances = principal_directions(rows)
    torch.testing.assert_close(directions.t() @ directions, torch.eye(128), atol=1e-4, rtol=0)
    turned = (rows - mean) @ directions
    assert float(turned[:, 3:].abs().max()) < 1e-4 < float(turned[:, 0].abs().max())
    torch.testing.assert_close(turned.square().sum(dim=0), variances, atol=1e-4, rtol=0)


def test_vectors_that_vary_alike_in_all_directions_have_no_leading_parts():
    rows = torch.randn(2000, 256, generator=torch.manual_seed(0))
    held = PrincipalVectors(256, torch.float32)
    held.append(rows)
    assert not held.have_leading and held.nbytes == rows.nbytes
