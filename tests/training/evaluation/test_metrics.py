"""Retrieval metrics against values worked out by hand, against scikit-learn, and under memory."""

import subprocess
import sys

import evaluate
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT
from sklearn.metrics import coverage_error, top_k_accuracy_score

from dmae.training.evaluation.evaluation import retrieval_metrics
from dmae.training.evaluation.score_normalization import QueryBank, dual_softmax, softmax_prior

METRIC = ROOT / "training" / "metrics" / "video_text_retrieval"

# Three videos, two texts of the first, one of the second, none of the third.
SIMILARITY = [
    [0.9, 0.5, 0.1],  # its video 0 is first
    [0.2, 0.4, 0.3],  # its video 0 is third
    [0.6, 0.6, 0.0],  # its video 1 ties with video 0: second
]
BY_HAND = {
    "t2v_R@1": 100 / 3, "t2v_R@5": 100.0, "t2v_R@10": 100.0, "t2v_MdR": 2.0, "t2v_MnR": 2.0,
    # Video 0's best text is first of its column; video 1's 0.6 leads its column (0.5, 0.4). Video 2 is no query.
    "v2t_R@1": 100.0, "v2t_R@5": 100.0, "v2t_R@10": 100.0, "v2t_MdR": 1.0, "v2t_MnR": 1.0,
    "v2t_by_video_R@1": 100.0, "v2t_by_video_R@5": 100.0, "v2t_by_video_R@10": 100.0, "v2t_by_video_MdR": 1.0,
    "v2t_by_video_MnR": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("chunk_size", [1, 2, 1024])
def test_by_hand(chunk_size):
    assert retrieval_metrics(SIMILARITY, [0, 0, 1], chunk_size) == pytest.approx(BY_HAND)


def test_video_to_text_by_hand():
    similarity = [[0.1, 0.9], [0.2, 0.9], [0.8, 0.3], [0.8, 0.9], [0.5, 0.0]]
    metrics = retrieval_metrics(similarity, [0, 0, 0, 1, 1])
    # Video 0: its best text 0.8 ties with text 3 (another video's): rank 2. Video 1: its 0.9 ties with texts 0 and 1.
    assert (metrics["v2t_R@1"], metrics["v2t_MdR"], metrics["v2t_MnR"]) == (0.0, 2.5, 2.5)
    # Among videos: 0.8 ties with the other video's best, and so does 0.9, of which two texts are one rival.
    assert (metrics["v2t_by_video_R@1"], metrics["v2t_by_video_MnR"]) == (0.0, 2.0)


def clip4clips_video_to_text(scores, owner):
    """CLIP4Clip's count for several sentences per video, where no two scores are equal: texts in groups of their
    videos, filled up with -inf, the best of each group, then the place of the own group in each video's column."""
    videos = np.unique(owner)
    groups = [scores[owner == video][:, videos] for video in videos]
    longest = max(map(len, groups))
    filled = np.stack([np.pad(g, ((0, longest - len(g)), (0, 0)), constant_values=-np.inf) for g in groups])
    best = filled.max(axis=1)
    return [1 + int(np.flatnonzero(np.argsort(-best[:, v]) == v)[0]) for v in range(len(videos))]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_videos_by_their_best_text_are_ranked_as_clip4clip_does(num_texts, num_videos, seed):
    rng = np.random.default_rng(seed)
    scores, owner = rng.normal(size=(num_texts, num_videos)), rng.integers(0, num_videos, num_texts)
    ranks = clip4clips_video_to_text(scores, owner)
    metrics = retrieval_metrics(scores, owner, chunk_size=2)
    if len(set(owner.tolist())) == num_texts:  # one text per video: both are the same
        assert "v2t_by_video_R@1" not in metrics and metrics["v2t_MnR"] == pytest.approx(np.mean(ranks))
    else:
        assert metrics["v2t_by_video_MnR"] == pytest.approx(np.mean(ranks))
        assert metrics["v2t_by_video_R@1"] == pytest.approx(100 * np.mean([rank == 1 for rank in ranks]))
        assert metrics["v2t_by_video_MnR"] <= metrics["v2t_MnR"]


def test_a_constant_score_is_the_worst_not_the_best():
    metrics = retrieval_metrics(torch.zeros(50, 50), torch.arange(50))
    assert (metrics["t2v_R@10"], metrics["v2t_R@10"], metrics["t2v_MnR"], metrics["v2t_MnR"]) == (0.0, 0.0, 50.0, 50.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_tensors_of_any_dtype(dtype):
    similarity = torch.tensor(SIMILARITY, dtype=dtype, requires_grad=True)
    assert retrieval_metrics(similarity, torch.tensor([0, 0, 1])) == pytest.approx(BY_HAND)


def test_against_scikit_learn():
    """`top_k_accuracy_score` for the recalls and `coverage_error`, which also breaks ties against the model, for the
    ranks; rounded scores bring ties, which top-k accuracy breaks for the higher index, so it sees unrounded ones."""
    rng = np.random.default_rng(0)
    scores, target = rng.normal(size=(300, 40)), rng.permutation(np.arange(300) % 40)
    metrics = retrieval_metrics(scores, target)
    for k in (1, 5, 10):
        assert metrics[f"t2v_R@{k}"] == pytest.approx(100 * top_k_accuracy_score(target, scores, k=k))
    one_hot = np.eye(40, dtype=int)[target]
    for values in (scores, scores.round(1)):
        assert retrieval_metrics(values, target)["t2v_MnR"] == pytest.approx(coverage_error(one_hot, values))
    # One text a video: video to text is text to video of the transpose.
    square, own = rng.normal(size=(60, 60)).round(1), np.arange(60)
    assert retrieval_metrics(square, own)["v2t_MnR"] == pytest.approx(coverage_error(np.eye(60, dtype=int), square.T))
    flipped = retrieval_metrics(square.T, own)
    assert {k: v for k, v in retrieval_metrics(square, own).items() if k.startswith("v2t")} == {
        k.replace("t2v", "v2t"): v for k, v in flipped.items() if k.startswith("t2v")
    }


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_against_a_plain_count(num_texts, num_videos, seed):
    rng = np.random.default_rng(seed)
    scores, owner = rng.integers(0, 4, (num_texts, num_videos)) / 4, rng.integers(0, num_videos, num_texts)
    ranks = [sum(other >= row[own] for other in row) for row, own in zip(scores, owner)]
    best = {v: max(scores[a][v] for a in range(num_texts) if owner[a] == v) for v in set(owner.tolist())}
    back = [1 + sum(owner[a] != v and scores[a][v] >= best[v] for a in range(num_texts)) for v in sorted(best)]
    metrics = retrieval_metrics(scores, owner, chunk_size=3)
    assert metrics["t2v_R@1"] == pytest.approx(100 * np.mean([rank == 1 for rank in ranks]))
    assert metrics["t2v_MdR"] == np.median(ranks) and metrics["v2t_MdR"] == np.median(back)
    assert metrics["t2v_MnR"] == pytest.approx(np.mean(ranks)) and metrics["v2t_MnR"] == pytest.approx(np.mean(back))


@pytest.mark.parametrize(
    ("similarity", "text_to_video", "message"),
    [
        (np.zeros((2, 3)), [0], r"\(2, 3\) and \(1,\)"),
        (np.zeros((0, 3)), np.zeros(0, int), "nothing to rank"),
        (np.zeros((2, 3)), [0, 3], "videos 0 to 3, similarity has columns 0 to 2"),
        (np.zeros((2, 3)), [0.0, 1.0], "must hold integers"),
        (np.array([[0.0, 1.0], [np.nan, 1.0]]), [0, 1], "NaN for 1 of 2 texts, the first is text 1"),
    ],
)
def test_bad_input(similarity, text_to_video, message):
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(similarity, text_to_video)


def test_evaluate_loads_the_metric(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path))
    metric = evaluate.load(str(METRIC), cache_dir=str(tmp_path))
    assert metric.compute(predictions=SIMILARITY, references=[0, 0, 1]) == pytest.approx(BY_HAND)
    metric.add_batch(predictions=SIMILARITY[:2], references=[0, 0])
    metric.add(prediction=SIMILARITY[2], reference=1)
    assert metric.compute() == pytest.approx(BY_HAND)


def test_ten_thousand_by_ten_thousand_fits(tmp_path):
    """The ranks of 10k × 10k scores (400 MB) take less than 200 MB beside them."""
    code = (
        "import sys, resource, numpy as np; sys.path.insert(0, sys.argv[1]); from ranking import retrieval_metrics\n"
        "scores = np.random.default_rng(0).random((10_000, 10_000), dtype=np.float32)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "metrics = retrieval_metrics(scores, np.arange(10_000))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, metrics['t2v_MnR'])"
    )
    output = subprocess.run([sys.executable, "-c", code, str(METRIC)], capture_output=True, text=True, check=True)
    grown, mean_rank = output.stdout.split()
    assert int(grown) * (1 if sys.platform == "darwin" else 1024) < 200 * 2**20
    assert 4_800 < float(mean_rank) < 5_200  # chance


def test_dual_softmax_is_the_product_of_both_softmaxes():
    similarity = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits = 3 * similarity
    expected = (logits.softmax(0) * logits.softmax(1)).log()
    torch.testing.assert_close(dual_softmax(similarity, 3.0, chunk_size=2), expected)
    assert dual_softmax(similarity * 1e3, 100.0).isfinite().all()  # where the product itself is 0


def test_the_softmax_prior_is_what_ts2_nets_inference_multiplies_by():
    similarity = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    columns = (100 * similarity).exp() / (100 * similarity).exp().sum(0)
    torch.testing.assert_close(softmax_prior(similarity, 0, chunk_size=2), similarity * columns)
    torch.testing.assert_close(softmax_prior(similarity.t(), 0), softmax_prior(similarity, 1, chunk_size=3).t())


def test_dual_softmax_finds_what_a_hub_hides():
    """Video 0 is close to everything; each text still prefers its own video to the others."""
    similarity = torch.tensor([[0.9, 0.2, 0.1], [0.7, 0.6, 0.1], [0.7, 0.1, 0.6]])
    own = torch.arange(3)
    assert retrieval_metrics(similarity, own)["t2v_R@1"] == pytest.approx(100 / 3)
    assert retrieval_metrics(dual_softmax(similarity, 20.0), own)["t2v_R@1"] == 100.0


def test_query_bank_is_the_dynamic_inverted_softmax():
    generator = torch.Generator().manual_seed(1)
    similarity, bank = torch.rand(6, 4, generator=generator), torch.rand(30, 4, generator=generator)
    bank[:, 3] -= 1  # video 3 is the first of no query of the bank
    similarity[0, 3] = 2.0  # text 0 is drawn to it, so its scores stay
    whole, pieces = QueryBank([bank], 20.0), QueryBank(bank.split(7), 20.0)
    expected = (20 * similarity).exp() / (20 * bank).exp().sum(0)
    torch.testing.assert_close(whole.normalize(similarity)[1:].exp(), expected[1:])
    torch.testing.assert_close(whole.normalize(similarity)[0], 20 * similarity[0])
    torch.testing.assert_close(whole.normalize(similarity), pieces.normalize(similarity))
    assert not whole.is_hub[3] and whole.is_hub[:3].all()
    with pytest.raises(ValueError, match="query bank is empty"):
        QueryBank([]).normalize(similarity)
