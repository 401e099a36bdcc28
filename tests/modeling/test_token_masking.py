"""TPM-CL: golden values, what is masked, padding, cost."""

import pytest
import torch
from golden import golden, needs_golden
from hypothesis import given, settings
from hypothesis import strategies as st

from dmae.modeling import (
    AttentionTokenWeightPredictor,
    ProjectedAttentionTokenWeightPredictor,
    TokenWeightPredictor,
    adaptive_mask,
    partial_order_loss,
)

ATTENTION = [AttentionTokenWeightPredictor, ProjectedAttentionTokenWeightPredictor]


def predictors(values):
    _, num_words, dim = values["words"].shape
    num_frames = values["frames"].shape[1]
    made = []
    for name, sizes in {"word_selector": (num_frames, num_words), "frame_selector": (1, num_frames)}.items():
        predictor = TokenWeightPredictor(*sizes, dim).to(values["words"].dtype)
        predictor.load_state_dict({k[len(name) + 1 :]: v for k, v in values.items() if k.startswith(name)})
        made.append(predictor)
    return made


@needs_golden
@pytest.mark.parametrize("case", ["tpm0", "tpm1"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_golden(case, dtype, tolerance):
    values = golden(case, dtype)
    sentence, words, frames = (values[name] for name in ("sentence", "words", "frames"))
    word_predictor, frame_predictor = predictors(values)
    word_weights = word_predictor(frames, words)
    frame_weights = frame_predictor(sentence[:, None], frames)
    torch.testing.assert_close(word_weights, values["expected_word_weights"], atol=tolerance, rtol=0)
    torch.testing.assert_close(frame_weights, values["expected_frame_weights"], atol=tolerance, rtol=0)
    assert adaptive_mask(word_weights).equal(values["expected_word_keep"].bool())
    assert adaptive_mask(frame_weights).equal(values["expected_frame_keep"].bool())
    loss = partial_order_loss(sentence, words, frames, word_predictor, frame_predictor)
    torch.testing.assert_close(loss, values["expected_loss"], atol=tolerance, rtol=0)


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=12),
    st.floats(0, 0.99),
)
@settings(max_examples=50, deadline=None)
def test_the_mask_removes_the_heaviest_tokens_below_the_threshold(raw, threshold):
    weights = torch.tensor([raw], dtype=torch.float64)
    weights = weights / weights.sum()
    keep = adaptive_mask(weights, threshold)[0]
    removed, kept = weights[0][~keep], weights[0][keep]
    assert keep.dtype == torch.bool
    assert removed.sum() < threshold + 1e-12 or not len(removed)
    if len(removed) and len(kept):
        assert removed.min() >= kept.max() - 1e-12
    if len(kept):  # one more would reach it
        assert removed.sum() + kept.max() >= threshold - 1e-9


def released_attention(queries, tokens, mix, heads):
    """The release's second predictor, a pair and a head at a time: softmax over tokens of each head's dot products at
    scale 1, heads added up, one linear mix of the queries, softmax over tokens."""
    size = queries.shape[2] // heads
    rows = []
    for q, k in zip(queries, tokens):
        summed = sum(
            (q[:, h * size : (h + 1) * size] @ k[:, h * size : (h + 1) * size].T).softmax(dim=1) for h in range(heads)
        )
        rows.append((mix.weight[0] @ summed + mix.bias).softmax(dim=0))
    return torch.stack(rows)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_attention_predictor_is_the_released_one(heads):
    torch.manual_seed(0)
    predictor = AttentionTokenWeightPredictor(3, 8, heads).double()
    assert {name: tuple(p.shape) for name, p in predictor.named_parameters()} == {
        "mix.weight": (1, 3),
        "mix.bias": (1,),
    }
    queries, tokens = torch.randn(5, 3, 8).double(), torch.randn(5, 6, 8).double()
    expected = released_attention(queries, tokens, predictor.mix, heads)
    torch.testing.assert_close(predictor(queries, tokens), expected, atol=1e-12, rtol=0)
    ours = ProjectedAttentionTokenWeightPredictor(3, 8, heads).double()
    assert {name for name, _ in ours.named_parameters()} == {"query.weight", "key.weight", "mix.weight"}


@pytest.mark.parametrize(
    "make", [TokenWeightPredictor, *(lambda q, n, d, kind=kind: kind(q, d, 2) for kind in ATTENTION)]
)
def test_predicted_weights_sum_to_one_and_ignore_padding(make):
    torch.manual_seed(0)
    predictor = make(3, 6, 8).double()
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    weights = predictor(torch.randn(2, 3, 8).double(), torch.randn(2, 6, 8).double(), mask)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, dtype=torch.float64))
    assert weights[0, 4:].eq(0).all() and (weights[mask > 0] > 0).all()


@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_predictors_take_any_number_of_tokens_and_the_linear_says_it_does_not(kind):
    attention = kind(4, 8, 2)
    for tokens in (1, 5, 9):
        assert attention(torch.randn(2, 3, 8), torch.randn(2, tokens, 8)).shape == (2, tokens)
    with pytest.raises(ValueError, match="takes 4 queries and 6 tokens, got 4 and 5"):
        TokenWeightPredictor(4, 6, 8)(torch.randn(2, 4, 8), torch.randn(2, 5, 8))


@given(seed=st.integers(0, 10**6), kind=st.sampled_from(ATTENTION))
@settings(max_examples=30, deadline=None)
def test_padding_never_changes_the_loss_of_the_attention_variants(seed, kind):
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    unit = lambda *s: torch.nn.functional.normalize(torch.randn(*s, generator=g).double(), dim=-1)  # noqa: E731
    sentence, words, frames, junk = unit(3, 8), unit(3, 5, 8), unit(3, 4, 8), unit(3, 2, 8)
    heads = kind(6, 8, 2).double(), kind(1, 8, 2).double()
    plain = partial_order_loss(sentence, words, frames, *heads)
    padded = partial_order_loss(
        sentence,
        torch.cat([words, junk], dim=1),
        torch.cat([frames, junk], dim=1),
        *heads,
        word_mask=torch.tensor([[1] * 5 + [0] * 2] * 3),
        frame_mask=torch.tensor([[1] * 4 + [0] * 2] * 3),
    )
    torch.testing.assert_close(padded, plain, atol=1e-12, rtol=0)


def test_only_matched_pairs_are_read_so_the_cost_grows_with_the_batch():
    """Floating-point operations counted by torch: twice the batch, twice the operations (B² would be four times)."""
    from torch.utils.flop_counter import FlopCounterMode

    def flops(batch):
        g = torch.Generator().manual_seed(0)
        args = [torch.randn(batch, *s, generator=g) for s in ((16,), (6, 16), (4, 16))]
        with FlopCounterMode(display=False) as counter:
            partial_order_loss(*args, TokenWeightPredictor(4, 6, 16), TokenWeightPredictor(1, 4, 16))
        return counter.get_total_flops()

    assert flops(32) == 2 * flops(16)


def test_bad_input_is_named():
    heads = TokenWeightPredictor(4, 6, 16), TokenWeightPredictor(1, 4, 16)
    sentence, words, frames = torch.randn(2, 16), torch.randn(2, 6, 16), torch.randn(2, 4, 16)
    with pytest.raises(ValueError, match="one matched pair"):
        partial_order_loss(sentence, words, frames[:1], *heads)
    with pytest.raises(ValueError, match="word_mask has shape"):
        partial_order_loss(sentence, words, frames, *heads, word_mask=torch.ones(2, 5))
    with pytest.raises(TypeError, match="dtypes must agree"):
        partial_order_loss(sentence, words.double(), frames, *heads)
    with pytest.raises(ValueError, match="threshold"):
        adaptive_mask(torch.ones(1, 2) / 2, 1.5)


@pytest.mark.parametrize("depth", [-30.0, -85.0, -90.0, -95.0, -100.0, -1000.0])
def test_weights_of_tokens_that_are_all_irrelevant_keep_a_finite_gradient(depth):
    """In a run with the paper's margin, every relevance of a row sank to what float32 can hardly hold."""
    torch.manual_seed(0)
    predictor = TokenWeightPredictor(2, 3, 8)
    torch.nn.init.zeros_(predictor.hidden.weight)
    queries, tokens = torch.randn(4, 2, 8), torch.randn(4, 3, 8).requires_grad_()
    predictor.hidden.register_forward_hook(lambda *_: torch.full((4, 3, 4), -depth) + tokens[:, :, :4])
    torch.nn.init.constant_(predictor.output.weight, -0.25)
    weights = predictor(queries, tokens, torch.tensor([1.0, 1, 0]).expand(4, 3))
    (weights * torch.arange(3)).sum().backward()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    assert not weights[:, 2].any()
    assert tokens.grad.isfinite().all() and tokens.grad.any()


@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
@settings(max_examples=50, deadline=None)
def test_the_crossing_token_is_masked_too_on_demand(seed, threshold):
    weights = torch.rand(3, 6, generator=torch.Generator().manual_seed(seed)).pow(4)
    weights = weights / weights.sum(dim=1, keepdim=True)
    plain, crossing = adaptive_mask(weights, threshold), adaptive_mask(weights, threshold, crossing=True)
    assert ((~crossing).sum(dim=1) == (~plain).sum(dim=1) + 1).all() and not (crossing & ~plain).any()
    assert not crossing.gather(1, weights.argmax(dim=1, keepdim=True)).any()  # the most telling is always masked
