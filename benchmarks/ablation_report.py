"""The ablation's tables: means over seeds, and paired differences with bootstrap intervals."""

import statistics
from typing import NamedTuple

import numpy as np

# What a row is compared with: the one that it adds a part to.
ROWS = {
    "mean_pooling": None,
    "token_interaction": "mean_pooling",
    "visual_attention": "token_interaction",
    "textual_attention": "visual_attention",
    "negnce": "textual_attention",
    "tpm_linear": "textual_attention",
    "paper": "textual_attention",
    "ours": "textual_attention",
}
# What we recommend without one of its changes, each compared with the whole; asked for by name.
PARTS = {
    "ours_alpha_kept": "ours",
    "ours_no_differences": "ours",
    "ours_no_edits": "ours",
    "ours_no_twins": "ours",
}
KINDS = ("colour", "size", "shape", "motion", "order")
DRAWS = 5000


class Outcome(NamedTuple):
    """What one run ranks right.

    to_video, to_text: of each test caption (video), 1 where its video (caption) comes first.
    hard: by kind, of each hard negative, 1 where the right caption scores higher. seconds: processor time.
    """

    to_video: list[int]
    to_text: list[int]
    hard: dict[str, list[int]]
    seconds: float

    @property
    def recall(self) -> float:
        """R@1, in %, the mean of both directions."""
        return 100 * statistics.mean([*self.to_video, *self.to_text])

    def answers(self, measure: str) -> list[int]:
        """The 0 and 1 behind a measure: "t2v R@1", "v2t R@1", "R@1" of both, "hard" or a kind of hard negative."""
        if measure in KINDS:
            return self.hard[measure]
        ways = {"t2v R@1": self.to_video, "v2t R@1": self.to_text, "R@1": [*self.to_video, *self.to_text]}
        return ways.get(measure) or [right for kind in KINDS for right in self.hard[kind]]


def paired_difference(one: list[Outcome], other: list[Outcome], measure: str) -> tuple[float, float, float]:
    """Mean difference in percentage points over the same seeds and queries, and its 95 % interval: seeds and queries
    are drawn anew, with replacement, and each draw compares the two rows on the same ones."""
    difference = 100.0 * (answers(one, measure) - answers(other, measure))
    seeds, queries = difference.shape
    rng = np.random.default_rng(0)
    draws = [
        difference[rng.integers(seeds, size=seeds)][:, rng.integers(queries, size=queries)].mean()
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(difference.mean()), float(low), float(high)


def answers(outcomes: list[Outcome], measure: str) -> np.ndarray:
    """`(seeds, queries)` of 0 and 1."""
    return np.array([outcome.answers(measure) for outcome in outcomes])


def print_curve(records: list[dict]) -> None:
    """How the towers came to know stills, at ten steps of their training."""
    chosen = records[:: max(1, len(records) // 10)]
    print("| step of the towers | loss | R@1 among 300 stills | α |\n| --- | --- | --- | --- |")
    for record in [*chosen, records[-1]] if chosen[-1] is not records[-1] else chosen:
        print(f"| {record['step']} | {record['loss']:.2f} | {record['R@1']:.1f} | {record['logit_scale']:.1f} |")


def print_trials(corpus: str, trials: dict[str, dict[str, dict[str, float]]]) -> None:
    """By row, what each learning rate reached on the validation videos after how many steps."""
    columns = sorted(
        {(int(steps), float(rate)) for tried in trials.values() for steps, rates in tried.items() for rate in rates}
    )
    print(f"\n{corpus}: R@1 of both directions on other videos, by steps and learning rate\n")
    print(f"| row | {' | '.join(f'{steps}, {rate:g}' for steps, rate in columns)} |\n| --- {'| --- ' * len(columns)}|")
    for row, tried in trials.items():
        found = {(int(steps), float(rate)): value for steps, rates in tried.items() for rate, value in rates.items()}
        print(f"| {row} | {' | '.join(f'{found[key]:.1f}' if key in found else '' for key in columns)} |")


def print_report(corpus: str, rows: dict[str, dict[int, Outcome]], chosen: dict[str, tuple[float, int]]) -> None:
    """`chosen`: by row, the learning rate and the steps of its runs."""
    measures = ("t2v R@1", "v2t R@1", "hard", *KINDS)
    done = {row: found for row, found in rows.items() if found}
    unit = mean_seconds(done.get("paper") or next(iter(done.values())))
    print(f"\n{corpus}: mean ± deviation over {max(map(len, done.values()))} seeds\n")
    print(f"| row | {' | '.join(measures)} | cost | rate | steps |\n| --- {'| --- ' * (len(measures) + 3)}|")
    for row, found in done.items():
        cells = [spread([float(np.mean(run.answers(name))) for run in found.values()]) for name in measures]
        rate, steps = chosen[row]
        print(f"| {row} | {' | '.join(cells)} | {mean_seconds(found) / unit:.2f} | {rate:g} | {steps} |")
    measures = ("R@1", "hard", "motion", "order")
    print(f"\n| row | against | {' | '.join(measures)} |\n| --- | --- {'| --- ' * len(measures)}|")
    pairs = [*(ROWS | PARTS).items(), ("ours", "paper"), ("ours", "token_interaction"), ("paper", "token_interaction")]
    for row, against in pairs:
        if row in done and against in done:
            seeds = sorted(done[row].keys() & done[against].keys())
            ours, theirs = ([done[name][seed] for seed in seeds] for name in (row, against))
            cells = [told(*paired_difference(ours, theirs, name)) for name in measures]
            print(f"| {row} | {against} | {' | '.join(cells)} |")
    minutes = sum(run.seconds for found in done.values() for run in found.values()) / 60
    print(f"\n{sum(map(len, done.values()))} runs, {minutes:.0f} minutes of processor time")


def told(mean: float, low: float, high: float) -> str:
    verdict = "helps" if low > 0 else "hurts" if high < 0 else "cannot be told"
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}] {verdict}"


def mean_seconds(runs: dict[int, Outcome]) -> float:
    return statistics.mean(run.seconds for run in runs.values())


def spread(shares: list[float]) -> str:
    percent = [100 * share for share in shares]
    deviation = f" ± {statistics.stdev(percent):.1f}" if len(percent) > 1 else ""
    return f"{statistics.mean(percent):.1f}{deviation}"
