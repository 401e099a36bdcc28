"""InfoNCE and NegNCE: golden values and gradients, finiteness, and what the departure from a clamp buys."""

import pytest
import torch
from golden import golden, needs_golden
from hypothesis import given, settings
from hypothesis import strategies as st

from dmae.modeling import info_nce_loss, negnce_loss


@needs_golden
@pytest.mark.parametrize("case", ["loss0", "loss1"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_golden(case, dtype, tolerance):
    values = golden(case, dtype)
    similarity = values["similarity"].requires_grad_()
    torch.testing.assert_close(info_nce_loss(similarity), values["infonce_symmetric"], atol=tolerance, rtol=tolerance)
    loss = negnce_loss(similarity)
    torch.testing.assert_close(loss, values["negnce_symmetric"], atol=tolerance, rtol=tolerance)
    loss.backward()
    torch.testing.assert_close(similarity.grad, values["negnce_grad"], atol=max(tolerance, 1e-9) * 100, rtol=tolerance)


def by_the_book(s, alpha, margin, beta):
    def direction(s):
        p = (alpha * s).softmax(dim=1)
        n = len(s)
        hard = [
            (i, j)
            for i in range(n)
            for j in range(n)
            if i != j and (s[i, j] + margin > s[i, i] or s[i, j] + margin > s[j, j])
        ]
        loss = -p.diagonal().log().mean()
        if hard:
            loss = loss + beta * torch.stack([-torch.log(1 - p[i, j]) for i, j in hard]).mean()
        return loss

    return (direction(s) + direction(s.t())) / 2


@given(seed=st.integers(0, 10**6), margin=st.sampled_from([0.0, 0.1]), beta=st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=30, deadline=None)
def test_equals_the_method_by_the_book(seed, margin, beta):
    s = torch.rand(5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(negnce_loss(s, 10.0, margin, beta), by_the_book(s, 10.0, margin, beta))


def test_without_hard_negatives_it_is_infonce():
    s = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(negnce_loss(s), info_nce_loss(s))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hardest_positives_keep_their_gradient(dtype):
    """P_ii far below 1e-6, where a clamped probability has none; and negatives at P_ij = 1."""
    s = (1 - 2 * torch.eye(4, dtype=dtype)).requires_grad_()  # every positive at −1, every negative at 1
    loss = negnce_loss(s)
    loss.backward()
    assert loss.isfinite() and s.grad.isfinite().all()
    assert (s.grad.diagonal() < -1).all()  # up with every positive
    lone = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]], dtype=dtype).requires_grad_()
    negnce_loss(lone).backward()
    assert lone.grad.isfinite().all() and lone.grad[0, 0] < 0 < lone.grad[0, 1]


def test_learned_scale_gets_a_gradient_and_one_pair_costs_nothing():
    scale = torch.tensor(10.0, requires_grad=True)
    negnce_loss(torch.rand(3, 3), scale).backward()
    assert scale.grad.isfinite() and scale.grad != 0
    assert negnce_loss(torch.rand(1, 1)) == 0


@pytest.mark.parametrize("loss", [info_nce_loss, negnce_loss])
@pytest.mark.parametrize("shape", [(2, 3), (4,), (0, 0)])
def test_only_square_matrices(loss, shape):
    with pytest.raises(ValueError, match="square matrix"):
        loss(torch.zeros(shape))


@given(st.integers(0, 2**31), st.floats(0, 0.2))
@settings(max_examples=30, deadline=None)
def test_wrong_texts_are_negatives_of_every_video(seed, margin):
    rng = torch.Generator().manual_seed(seed)
    s, wrong = (torch.rand(n, 5, generator=rng, dtype=torch.float64) for n in (5, 3))
    to_text = torch.cat([s, wrong]).t().mul(20).log_softmax(dim=1)
    to_video = s.mul(20).log_softmax(dim=1)
    expected = -(to_text.diagonal().mean() + to_video.diagonal().mean()) / 2
    torch.testing.assert_close(info_nce_loss(s, 20, wrong_texts=wrong), expected)

    hard = [(j, i) for i in range(8) for j in range(5) if i != j]

    def is_hard(j, i):
        score = torch.cat([s, wrong])[i, j] + margin
        return score > s[j, j] or (i < 5 and score > s[i, i])

    of_texts = [-torch.log1p(-to_text[j, i].exp()) for j, i in hard if is_hard(j, i)]
    of_videos = [-torch.log1p(-to_video[i, j].exp()) for j, i in hard if i < 5 and is_hard(j, i)]
    penalty = sum(torch.stack(terms).mean() if terms else 0 for terms in (of_texts, of_videos)) / 2
    torch.testing.assert_close(negnce_loss(s, 20, margin, 0.5, wrong_texts=wrong), expected + 0.5 * penalty)


@pytest.mark.parametrize("loss", [info_nce_loss, negnce_loss])
def test_wrong_texts_of_other_videos(loss):
    s = torch.rand(3, 3)
    assert loss(s, wrong_texts=torch.empty(0, 3)) == loss(s)
    with pytest.raises(ValueError, match=r"wrong_texts must be \(texts, 3\)"):
        loss(s, wrong_texts=torch.rand(2, 4))
