"""Ways of re-ranking that look at many queries at once, so their numbers stand in rows of their own: a search engine
that answers one query at a time does not have them."""

from collections.abc import Iterable

import torch

from dmae.modeling import InputError


def dual_softmax(similarity: torch.Tensor, logit_scale: float = 100.0, chunk_size: int = 1024) -> torch.Tensor:
    """Logarithm of (softmax over the videos) × (softmax over the texts): a pair counts as far as each is the other's
    choice. It sees all test queries. As a logarithm no score underflows into a tie. The codes of the field multiply
    otherwise: `softmax_prior`.

    Args:
        similarity: `(A, B)` scores of texts with videos.
        logit_scale: factor before the softmax.

    Returns:
        `(A, B)` scores for both directions.
    """
    rows = torch.cat([(chunk * logit_scale).logsumexp(1) for chunk in similarity.split(chunk_size, 0)])
    columns = torch.cat([(chunk * logit_scale).logsumexp(0) for chunk in similarity.split(chunk_size, 1)])
    return (similarity * (2 * logit_scale)).sub_(rows[:, None]).sub_(columns)


def softmax_prior(
    similarity: torch.Tensor, queries: int, logit_scale: float = 100.0, chunk_size: int = 1024
) -> torch.Tensor:
    """Similarity × (its softmax over all test queries): the "dual softmax" of CAMoE's and TS2-Net's inference
    (arXiv:2109.04290, section 3.4), which many tables call DSL.

    Args:
        similarity: `(A, B)` scores of texts with videos.
        queries: the dimension of the queries: 0 for text to video, 1 for video to text.
        logit_scale: factor before the softmax, 100 in those codes.

    Returns:
        `(A, B)` scores for that direction.
    """
    chunks = similarity.split(chunk_size, 1 - queries)
    return torch.cat([chunk * (chunk * logit_scale).softmax(queries) for chunk in chunks], 1 - queries)


class QueryBank:
    """Query-bank normalisation (QB-Norm, arXiv:2112.12777): a video that many queries of a bank are drawn to, a hub,
    is scored down. The dynamic inverted softmax of its section 3.3, text to video: it changes the scores of those
    queries only whose first video is also the first one of some query of the bank.

    Args:
        bank_scores: pieces `(n, B)` of the scores of the bank's texts with the gallery's videos.
        temperature: the factor β before the softmax.
    """

    def __init__(self, bank_scores: Iterable[torch.Tensor] = (), temperature: float = 20.0):
        self.temperature = temperature
        self.log_mass: torch.Tensor | None = None
        self.is_hub: torch.Tensor | None = None
        for scores in bank_scores:
            self.add(scores)

    def add(self, scores: torch.Tensor) -> None:
        """Takes in a further piece `(n, B)` of the bank."""
        hubs = torch.zeros(scores.shape[1], dtype=torch.bool).index_fill_(0, scores.argmax(1), True)
        self._take((scores * self.temperature).logsumexp(0), hubs)

    def include(self, other: "QueryBank") -> None:
        """Takes in all that another bank of the same gallery holds."""
        if other.log_mass is not None and other.is_hub is not None:
            self._take(other.log_mass, other.is_hub)

    def _take(self, mass: torch.Tensor, hubs: torch.Tensor) -> None:
        self.log_mass = mass if self.log_mass is None else torch.logaddexp(self.log_mass, mass)
        self.is_hub = hubs if self.is_hub is None else self.is_hub | hubs

    def normalize(self, similarity: torch.Tensor) -> torch.Tensor:
        """`(A, B)` scores of texts with videos, to rank each row's videos by; rows are not comparable.

        Raises:
            InputError: the bank is empty.
        """
        if self.log_mass is None or self.is_hub is None:
            raise InputError("the query bank is empty")
        scaled = similarity * self.temperature
        drawn_to_hub = self.is_hub[similarity.argmax(1)]
        return torch.where(drawn_to_hub[:, None], scaled.sub(self.log_mass), scaled)
