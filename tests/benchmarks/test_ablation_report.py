"""The ablation's statistics, on outcomes whose differences are known."""

from concurrent.futures import Future
from types import SimpleNamespace

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


def test_steps_are_doubled_while_that_adds_a_point():
    ablation = load_benchmark("ablation")
    tried = {"400": {"0.0001": 70.0, "0.0002": 72.0, "0.0005": 71.0}}
    assert ablation.best_choice(tried) == (2e-4, 400)
    assert ablation.best_choice(tried | {"800": {"0.0002": 72.9}}) == (2e-4, 400)
    assert ablation.best_choice(tried | {"800": {"0.0002": 73.0}}) == (2e-4, 800)
    assert ablation.best_choice(tried | {"800": {"0.0002": 72.5}, "1600": {"0.0002": 80.0}}) == (2e-4, 400)


def test_rates_are_tried_once_and_only_the_best_goes_on():
    ablation = load_benchmark("ablation")
    reached = {("paper", 400): 70.0, ("paper", 800): 75.0, ("ours", 400): 80.0, ("ours", 800): 80.5}
    asked = []

    def start(cell, rate, steps):
        asked.append((cell[1], rate, steps))
        job = Future()
        job.set_result(SimpleNamespace(recall=reached[cell[1], steps] + rate))
        return job

    options = SimpleNamespace(steps=400, longest=1000)
    found = ablation.choose([("scenes", "paper"), ("scenes", "ours")], options, start, lambda jobs, title: None)
    assert len(asked) == 2 * len(ablation.RATES) + 2 and {steps for _, _, steps in asked} == {400, 800}
    best = max(ablation.RATES)
    assert ablation.best_choice(found["scenes paper"]) == (best, 800)
    assert ablation.best_choice(found["scenes ours"]) == (best, 400)
