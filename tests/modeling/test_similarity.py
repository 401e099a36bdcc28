"""dmae_similarity against golden values, a literal transcription of method.md, and its invariances."""

import pytest
import torch
from golden import golden, needs_golden
from hypothesis import given, settings
from hypothesis import strategies as st

from dmae.modeling import dmae_similarity, nearest_frames
from dmae.modeling.similarity import _best_frame

INPUTS = ("sentence", "words", "word_weights", "frames", "frame_mask")


def unit(*shape, generator, dtype=torch.float64):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=-1)


def make_case(seed, texts=3, words=5, videos=4, frames=6, dim=8):
    """Random features with padding inside and at the end; each item keeps at least one real token."""
    g = torch.Generator().manual_seed(seed)
    weights = torch.randint(0, 3, (texts, words), generator=g).double()
    mask = torch.randint(0, 2, (videos, frames), generator=g).double()
    weights[torch.arange(texts), torch.randint(words, (texts,), generator=g)] = 2
    mask[torch.arange(videos), torch.randint(frames, (videos,), generator=g)] = 1
    return [
        unit(texts, dim, generator=g),
        unit(texts, words, dim, generator=g),
        weights,
        unit(videos, frames, dim, generator=g),
        mask,
    ]


def by_the_book(sentence, words, weights, frames, mask, text_attention, visual_attention, neighbor_weight=0.5):
    """method.md read aloud: one pair at a time, loops, real tokens only."""

    def score(tokens, token_weights, video):
        table = tokens @ video.t()
        p = []
        for row in table:
            best = int(row.argmax())
            value = row[best].clone()
            if visual_attention and len(video) > 1:
                cosine = video @ video[best]
                cosine[best] = -torch.inf
                nearest = int(cosine.argmax())
                value = value + neighbor_weight * max(0.0, float(cosine[nearest])) * row[nearest]
            p.append(value)
        q = table.max(dim=0).values
        return 0.5 * ((token_weights * torch.stack(p)).sum() / token_weights.sum() + q.mean())

    out = torch.zeros(len(sentence), len(frames), dtype=sentence.dtype)
    for a in range(len(sentence)):
        for b in range(len(frames)):
            video = frames[b][mask[b] > 0]
            out[a, b] = score(sentence[a : a + 1], torch.ones(1, dtype=sentence.dtype), video)
            if text_attention:
                real = weights[a] > 0
                out[a, b] = 0.5 * (out[a, b] + score(words[a][real], weights[a][real], video))
    return out


@needs_golden
@pytest.mark.parametrize("case", ["sim0", "sim1"])
@pytest.mark.parametrize("visual", [0, 1])
@pytest.mark.parametrize("text", [0, 1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_golden(case, visual, text, dtype, tolerance):
    values = golden(case, dtype)
    found = dmae_similarity(
        *(values[name] for name in INPUTS), text_attention=bool(text), visual_attention=bool(visual)
    )
    assert found.dtype == dtype
    torch.testing.assert_close(found, values[f"expected_va{visual}_ta{text}"], atol=tolerance, rtol=0)


@given(seed=st.integers(0, 10**6), text=st.booleans(), visual=st.booleans(), chunk=st.sampled_from([None, 1, 2, 3]))
@settings(max_examples=40, deadline=None)
def test_equals_the_method_by_the_book(seed, text, visual, chunk):
    case = make_case(seed)
    found = dmae_similarity(*case, text_attention=text, visual_attention=visual, chunk_size=chunk)
    torch.testing.assert_close(found, by_the_book(*case, text, visual), atol=1e-12, rtol=0)


@given(seed=st.integers(0, 10**6), words=st.integers(0, 4), frames=st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_padding_never_changes_a_score(seed, words, frames):
    sentence, word_embeds, weights, frame_embeds, mask = case = make_case(seed)
    pad = torch.nn.functional.pad
    # Junk in the padding, aligned with the sentence, would win every maximum if it were seen.
    padded = [
        sentence,
        torch.cat([word_embeds, frame_embeds[:1, :1].expand(3, words, -1)], dim=1),
        pad(weights, (0, words)),
        torch.cat([frame_embeds, sentence[:1, None].expand(4, frames, -1)], dim=1),
        pad(mask, (0, frames)),
    ]
    torch.testing.assert_close(dmae_similarity(*padded), dmae_similarity(*case), atol=1e-12, rtol=0)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_order_of_texts_videos_words_and_frames_does_not_matter(seed):
    sentence, words, weights, frames, mask = case = make_case(seed)
    g = torch.Generator().manual_seed(seed)
    a, b, t, f = (torch.randperm(n, generator=g) for n in (3, 4, 5, 6))
    shuffled = dmae_similarity(sentence[a], words[a][:, t], weights[a][:, t], frames[b][:, f], mask[b][:, f])
    torch.testing.assert_close(shuffled, dmae_similarity(*case)[a][:, b], atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)]
)
def test_lower_precision_stays_close_and_keeps_its_dtype(dtype, tolerance):
    case = make_case(1, dim=32)
    found = dmae_similarity(*(t.to(dtype) for t in case))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), dmae_similarity(*case), atol=tolerance, rtol=0)


def test_gradient_is_the_same_in_chunks_and_correct():
    case = make_case(3)
    inputs = [case[i].clone().requires_grad_() for i in (0, 1, 3)]

    def score(sentence, words, frames, chunk=None):
        return dmae_similarity(sentence, words, case[2], frames, case[4], chunk_size=chunk)

    assert torch.autograd.gradcheck(score, inputs)
    whole = torch.autograd.grad(score(*inputs).square().sum(), inputs)
    chunked = torch.autograd.grad(score(*inputs, chunk=2).square().sum(), inputs)
    for one, other in zip(whole, chunked):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_nearest_frames_of_a_lone_frame_and_of_opposite_frames():
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    index, gain = nearest_frames(x[None, :2], torch.tensor([[1, 1]]))
    assert index.tolist() == [[1, 0]] and gain.tolist() == [[0, 0]]  # a negative cosine gains nothing
    _, gain = nearest_frames(x[None], torch.tensor([[0, 1, 0]]))
    assert gain.tolist() == [[0, 0, 0]]


def test_all_padding_scores_zero_and_stays_finite():
    sentence, words, weights, frames, mask = make_case(5)
    mask[1] = 0
    weights[0] = 0
    found = dmae_similarity(sentence, words, weights, frames, mask)
    assert found[:, 1].eq(0).all() and found.isfinite().all()
    alone = dmae_similarity(sentence, words, weights, frames, mask, text_attention=False)
    torch.testing.assert_close(found[0], alone[0] / 2)  # the words of a text without words add nothing


def test_no_texts_or_no_videos_give_an_empty_matrix():
    case = make_case(0)
    assert dmae_similarity(*(t[:0] for t in case[:3]), *case[3:]).shape == (0, 4)
    assert dmae_similarity(*case[:3], *(t[:0] for t in case[3:])).shape == (3, 0)


def test_memory_is_that_of_one_block():
    """The token similarities of 64 × 64 pairs at a time, not of all: measured on what autograd keeps."""
    g = torch.Generator().manual_seed(0)
    sentence, words, frames = (unit(*s, generator=g).float() for s in ((48, 16), (48, 8, 16), (48, 6, 16)))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        dmae_similarity(
            sentence.requires_grad_(), words, torch.ones(48, 8), frames, torch.ones(48, 6), chunk_size=8
        ).sum()
    assert max(kept) < 48 * 48 * 8 * 6 / 10


def test_compiles_without_a_graph_break():
    case = [t.float() for t in make_case(2)]
    torch._dynamo.reset()
    explained = torch._dynamo.explain(dmae_similarity)(*case)
    assert explained.graph_break_count == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c.__setitem__(0, c[0][:2]), ValueError, "sentence_embeds has 2 texts and word_embeds 3"),
        (lambda c: c.__setitem__(2, c[2][:, :3]), ValueError, "word_weights has shape (3, 3)"),
        (lambda c: c.__setitem__(4, c[4][:2]), ValueError, "frame_mask has shape (2, 6)"),
        (lambda c: c.__setitem__(3, c[3][..., :4]), ValueError, "frame_embeds 4"),
        (lambda c: c.__setitem__(3, c[3].float()), TypeError, "dtypes must agree"),
        (lambda c: c.__setitem__(1, c[1].long()), TypeError, "word_embeds must be a floating-point tensor"),
        (lambda c: c.__setitem__(3, c[3][0]), ValueError, "frame_embeds must have 3 non-empty dimensions"),
        (lambda c: c.__setitem__(3, c[3][:, :0]), ValueError, "frame_embeds must have 3 non-empty dimensions"),
    ],
)
def test_bad_input_is_named(change, error, message):
    case = make_case(0)
    change(case)
    with pytest.raises(error) as raised:
        dmae_similarity(*case)
    assert message in str(raised.value)
    with pytest.raises(ValueError, match="chunk_size"):
        dmae_similarity(*make_case(0), chunk_size=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("frames", [1, 2, 12, 300])
def test_the_best_frame_is_exact_among_near_ties(dtype, frames):
    generator = torch.Generator().manual_seed(frames)
    close = torch.finfo(dtype).eps * torch.randint(-4, 5, (5, 6, frames, 7), generator=generator).to(dtype)
    similarity = (torch.rand(5, 6, 1, 7, generator=generator, dtype=dtype) - 0.5) * (1 + close)
    best = similarity.gather(2, _best_frame(similarity))
    assert torch.equal(best, similarity.amax(dim=2, keepdim=True))
