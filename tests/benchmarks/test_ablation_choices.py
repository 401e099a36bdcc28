"""The ablation's rule for rates and steps."""

from concurrent.futures import Future
from types import SimpleNamespace

from benchmark_modules import load_benchmark

choices = load_benchmark("ablation_choices")


def test_steps_are_doubled_while_that_adds_a_point():
    tried = {"400": {"0.0001": 70.0, "0.0002": 72.0, "0.0005": 71.0}}
    assert choices.best_choice(tried) == (2e-4, 400)
    assert choices.best_choice(tried | {"800": {"0.0002": 72.9}}) == (2e-4, 400)
    assert choices.best_choice(tried | {"800": {"0.0002": 73.0}}) == (2e-4, 800)
    assert choices.best_choice(tried | {"800": {"0.0002": 72.5}, "1600": {"0.0002": 80.0}}) == (2e-4, 400)


def test_rates_are_tried_once_and_only_the_best_goes_on():
    reached = {("paper", 400): 70.0, ("paper", 800): 75.0, ("ours", 400): 80.0, ("ours", 800): 80.5}
    asked = []

    def start(cell, rate, steps):
        asked.append((cell[1], rate, steps))
        job = Future()
        job.set_result(SimpleNamespace(recall=reached[cell[1], steps] + rate))
        return job

    found = choices.choose([("scenes", "paper"), ("scenes", "ours")], 400, 1000, start, lambda jobs, title: None)
    assert len(asked) == 2 * len(choices.RATES) + 2 and {steps for _, _, steps in asked} == {400, 800}
    best = max(choices.RATES)
    assert choices.best_choice(found["scenes paper"]) == (best, 800)
    assert choices.best_choice(found["scenes ours"]) == (best, 400)
