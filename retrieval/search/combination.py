"""This but not that: a query of several texts, images and videos, as a combination of the DMAE scores of its parts.

A part of another kind than the query (an image beside a text) scores on another scale; it is put on the query's by the
mean and the deviation that both have over a sample of the index. On one scale, `Combination` says what counts:

    score = mean(max(query, alternatives), also …) - WITHOUT_WEIGHT * sum(without's excess over its mean)

Both stages of the search combine their scores of the parts alike: the first its estimates, the second the exact ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dmae.modeling.features import TextFeatures

from ..errors import VideoIndexError
from ..media import check_example
from .query import EncodedQuery
from .scoring import CandidateFrames, ScoreOptions, score_each
from .stages import query_vectors

WITHOUT_WEIGHT = 2.0  # half of it leaves more of what must not match, twice as much loses some of what must


@dataclass(frozen=True, eq=False)
class CombinedQuery(EncodedQuery):
    """A query with further parts. `VideoIndex.encode` makes it.

    Attributes:
        alternatives: any of them does instead of the query itself.
        also: what must match too (a text, or `like` an image or a video). without: what must not.
    """

    alternatives: tuple[EncodedQuery, ...] = ()
    also: tuple[EncodedQuery, ...] = ()
    without: tuple[EncodedQuery, ...] = ()

    def __post_init__(self):
        for part in self.without:
            if any(_same(part, wanted) for wanted in (self, *self.alternatives, *self.also)):
                what = "the same example" if part.text is None else repr(part.text)
                raise VideoIndexError(f"without {what} leaves nothing of the query: name what else is to be left out")

    @property
    def parts(self) -> tuple[EncodedQuery, ...]:
        return (self, *self.alternatives, *self.also, *self.without)

    def labels(self) -> list[str]:
        """What the parts after the query are, for people."""
        roles = [("or", part) for part in self.alternatives]
        roles += [("and" if part.text else "like", part) for part in self.also]
        roles += [("without", part) for part in self.without]
        return [f"{role} {part.text or 'the example'}" for role, part in roles]


def combine(
    query: EncodedQuery,
    alternatives: Sequence[EncodedQuery],
    also: Sequence[EncodedQuery],
    without: Sequence[EncodedQuery],
) -> CombinedQuery:
    """A query with further parts, beside those that it may have already."""
    if isinstance(query, CombinedQuery):
        alternatives, also = (*query.alternatives, *alternatives), (*query.also, *also)
        without = *query.without, *without
    return CombinedQuery(query.features, query.text, tuple(alternatives), tuple(also), tuple(without))


def as_parts(given, name: str) -> list:
    """One part of a query or several, as a list; none for None."""
    if given is None:
        return []
    parts = list(given) if isinstance(given, (list, tuple)) else [given]
    if any(isinstance(part, str) and not part.strip() for part in parts):
        raise VideoIndexError(f"{name} is empty: leave it out, or write what it is")
    return parts


def as_examples(given) -> list:
    """As `as_parts`, for `like`: images and videos.

    Raises:
        VideoIndexError: one is a text.
    """
    parts = as_parts(given, "like")
    for part in parts:
        text = part.text if isinstance(part, EncodedQuery) else part
        if isinstance(text, str):
            check_example(text)
    return parts


class Queries:
    """A queries that are searched for together, and what both stages need of them.

    Attributes:
        parts: features and options of each part: one part of A rows, or (combined, A = 1) several of one row each.
        combination: how the parts' scores become one, None where they are the queries' own.
    """

    def __init__(self, parts: Sequence[tuple[TextFeatures, ScoreOptions]], combination: "Combination | None" = None):
        self.parts = list(parts)
        self.combination = combination

    def __len__(self) -> int:
        return len(self.parts[0][0].sentence_embeds)

    def __getitem__(self, rows: slice | list[int]) -> "Queries":
        return self if self.combination else Queries([(features[rows], options) for features, options in self.parts])

    @property
    def vectors(self) -> torch.Tensor:
        """`(V, D)` a vector of stage one for every row of every part."""
        return torch.cat([query_vectors(*part) for part in self.parts])

    def wanted(self, vectors: torch.Tensor) -> torch.Tensor:
        """Those of the vectors that speak for a video, not against it."""
        return vectors[: len(vectors) - self.combination.without] if self.combination else vectors

    def combine(self, scores: torch.Tensor) -> torch.Tensor:
        """`(V, …)` scores of the parts' rows as `(A, …)` scores of the queries."""
        return self.combination(scores)[None] if self.combination else scores

    def score(self, frames: CandidateFrames) -> tuple[torch.Tensor, torch.Tensor]:
        """As `scoring.score_each`: `(A, C)` scores and `(A, C, F)` scores of frames; without's say nothing there."""
        scored = [score_each(features, frames, options) for features, options in self.parts]
        scores, frame_scores = (torch.cat(rows) for rows in zip(*scored))
        if self.combination is None:
            return scores, frame_scores
        return self.combine(scores), self.combination.positive(self.combination.rescale(frame_scores))[None]


@dataclass(frozen=True)
class Combination:
    """One score of the scores of P parts, in the order of `CombinedQuery.parts`.

    Attributes:
        alternatives, also, without: how many parts of each there are after the query.
        means, deviations: P each, of the parts' scores over a sample of the index.
        foreign: P each, whether the part is of another kind than the query.
    """

    alternatives: int
    also: int
    without: int
    means: torch.Tensor
    deviations: torch.Tensor
    foreign: torch.Tensor

    @classmethod
    def of(cls, query: CombinedQuery, options: ScoreOptions, sample: CandidateFrames | None) -> "Combination":
        """Measured on a sample of the index' videos, `(C, …)`; `options` are the model's."""
        counts = len(query.alternatives), len(query.also), len(query.without)
        foreign = torch.tensor([(part.text is None) != (query.text is None) for part in query.parts])
        if sample is None:
            return cls(*counts, torch.zeros(len(foreign)), torch.ones(len(foreign)), foreign)
        one = sample.as_batch()
        scores = torch.cat([score_each(part.features, one, part.options or options)[0] for part in query.parts])
        deviations = scores.std(dim=1, correction=0)
        return cls(*counts, scores.mean(dim=1), torch.where(deviations > 0, deviations, 1), foreign)

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        """`(P, …)` scores of the parts to `(…)`."""
        scores = self.rescale(scores)
        combined = self.positive(scores)
        start = len(scores) - self.without
        means = self.rescale(self.means)
        for part, mean in zip(scores[start:], means[start:]):
            combined = combined - WITHOUT_WEIGHT * (part - mean).clamp(min=0)
        return combined

    def positive(self, scores: torch.Tensor) -> torch.Tensor:
        """The part of the combined score that is not about `without`, of rescaled scores."""
        start, stop = 1 + self.alternatives, 1 + self.alternatives + self.also
        best = scores[:start].amax(dim=0)
        return torch.cat([best[None], scores[start:stop]]).mean(dim=0)

    def rescale(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores of every part on the scale of the query's."""
        shape = (len(scores),) + (1,) * (scores.ndim - 1)
        means, deviations = self.means.view(shape), self.deviations.view(shape)
        moved = (scores - means) / deviations * self.deviations[0] + self.means[0]
        return torch.where(self.foreign.view(shape), moved, scores)


def _same(part: EncodedQuery, other: EncodedQuery) -> bool:
    if part.text is None or other.text is None:
        return part.text is other.text and torch.equal(part.features.word_embeds, other.features.word_embeds)
    return _plain(part.text) == _plain(other.text)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
