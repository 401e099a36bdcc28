"""The ablation's statistics, on outcomes whose differences are known."""

import numpy as np
import pytest
from benchmark_modules import load_benchmark

report = load_benchmark("ablation_report")
SEEDS, QUERIES = 5, 200


def outcomes(seed: int, share: float) -> list:
    """Runs that rank this share of all queries right, each its own queries."""
    rng = np.random.default_rng(seed)

    def draw() -> list[int]:
        return (rng.random(QUERIES) < share).astype(int).tolist()

    hard = {kind: draw() for kind in report.KINDS}
    return [report.Outcome(draw(), draw(), hard, 60.0) for _ in range(SEEDS)]


def test_measures_are_shares_of_what_is_right():
    run = report.Outcome([1, 0], [1, 1], {kind: [1, 0, 0, 0] for kind in report.KINDS}, 1.0)
    assert run.recall == 75 and run.answers("R@1") == [1, 0, 1, 1] and run.answers("t2v R@1") == [1, 0]
    assert np.mean(run.answers("hard")) == 0.25 == np.mean(run.answers("order"))


def test_a_difference_is_paired_and_has_an_interval():
    low, high = outcomes(0, 0.6), outcomes(1, 0.8)
    mean, below, above = report.paired_difference(high, low, "R@1")
    expected = np.mean([run.recall for run in high]) - np.mean([run.recall for run in low])
    assert mean == pytest.approx(expected) and below < mean < above and below > 0
    assert report.paired_difference(low, high, "R@1") == pytest.approx((-mean, -above, -below))
    assert report.paired_difference(low, low, "hard") == (0, 0, 0)  # the same answers: no doubt at all
    assert report.told(mean, below, above).endswith("helps") and report.told(0.4, -1, 2).endswith("cannot be told")


def test_intervals_hold_the_truth_as_often_as_they_say():
    held = 0
    for seed in range(40):
        _, below, above = report.paired_difference(outcomes(seed, 0.7), outcomes(100 + seed, 0.7), "t2v R@1")
        held += below <= 0 <= above
    assert held >= 34  # 38 expected; fewer than 34 by chance once in fifty times


def test_a_table_of_unfinished_runs(capsys):
    rows = {row: {} for row in report.ROWS}
    rows["token_interaction"] = dict(enumerate(outcomes(0, 0.7)[:2]))
    rows["ours"] = dict(enumerate(outcomes(1, 0.9)))
    report.print_report("scenes", rows, dict.fromkeys(report.ROWS, (5e-4, 400)))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("| token_interaction ") for line in lines)
    assert any(line.startswith("| ours | token_interaction | ") for line in lines) and "7 runs" in lines[-1]
