"""With which learning rate and for how many steps each row of the ablation is trained: by the same rule for all."""

from collections.abc import Callable

RATES = (1e-4, 2e-4, 5e-4, 1e-3)  # of the towers; new modules learn twice as fast
RISE = 1.0  # points of R@1 that twice as many steps must add
Trials = dict[str, dict[str, float]]  # of a row on a corpus: by steps and by rate, the recall on validation videos


def choose(
    cells: list[tuple[str, str]], steps: int, longest: int, start: Callable, run: Callable
) -> dict[str, Trials]:
    """Trials of all rows: every rate at these steps, then the best of them at twice as many, while that helps.

    Args:
        cells: corpora and rows.
        start: of a cell, a rate and steps, the future of its outcome. run: waits for such futures, under a title.
    """
    found: dict[str, Trials] = {" ".join(cell): {} for cell in cells}
    trials = [(cell, rate) for rate in RATES for cell in cells]
    while trials:
        jobs = {start(cell, rate, steps): (cell, rate) for cell, rate in trials}
        run(jobs, f"choosing, {steps} steps")
        for job, (cell, rate) in jobs.items():
            found[" ".join(cell)].setdefault(str(steps), {})[str(rate)] = job.result().recall
        best = {cell: best_choice(found[" ".join(cell)]) for cell in cells}
        rising = [(cell, rate) for cell, (rate, length) in best.items() if length == steps]
        steps *= 2
        trials = rising if steps <= longest else []
    return found


def best_choice(trials: Trials) -> tuple[float, int]:
    """The rate, and the steps: the fewest from which twice as many add less than `RISE`."""
    best = [(int(steps), max(rates, key=lambda rate: rates[rate])) for steps, rates in trials.items()]
    (steps, rate), *longer = sorted(best)
    for more, theirs in longer:
        if trials[str(more)][theirs] < trials[str(steps)][rate] + RISE:
            break
        steps, rate = more, theirs
    return float(rate), steps
