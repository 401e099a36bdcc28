"""Confidences for hits of many shards, the same that one index over everything would tell.

A confidence depends on the hit's score and video, on the bank of texts, and on a sample of the index. The sample of
the whole follows from those of its shards (`search.sample`), so it is merged here, and an encoder, which has the bank,
makes the judge of it. When a shard has changed the judge is made anew, at most every `PAUSE` seconds.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from ..search.combination import Queries
from ..search.confidence import Judge
from ..search.sample import merged, shares
from ..search.scoring import CandidateFrames
from .fan_out import FanOut, SilentError

PAUSE = 5.0  # seconds


class SharedJudge:
    """The judge of all shards.

    Args:
        fan_out: asks the shards.
        ask: of the name of a shard, of one of its methods and its arguments, gives an awaitable of the answer.
        shards: their names.
        make: gives an awaitable of the judge of a sample.
    """

    def __init__(
        self,
        fan_out: FanOut,
        ask: Callable[..., Awaitable],
        shards: Sequence[str],
        make: Callable[[CandidateFrames], Awaitable[Judge]],
    ):
        self._fan_out, self._ask, self._shards, self._make = fan_out, ask, shards, make
        self._judge: Judge | None = None
        self._versions: Mapping[str, int] = {}
        self._made = -math.inf
        self._lock = asyncio.Lock()

    async def tell(self, hits: list[dict], queries: Queries, versions: Mapping[str, int]) -> None:
        """Puts `confidence` into hits, in place of the `judged_by` that their shards sent along.

        Args:
            queries: the query that they answer. versions: of the tables of the shards that they come from.
        """
        judged = [(hit, *hit.pop("judged_by")) for hit in hits]
        known = [(hit, score, pooled) for hit, score, pooled in judged if pooled is not None]
        judge = await self._of(versions) if known else None
        if judge is None:
            return
        scores = torch.tensor([score for _, score, _ in known])
        videos = torch.from_numpy(np.stack([pooled for *_, pooled in known]))
        confidences = judge(scores, videos, judge.demands(queries).expand(len(known)))
        for (hit, *_), confidence in zip(known, confidences.tolist()):
            hit["confidence"] = round(confidence, 4)

    async def _of(self, versions: Mapping[str, int]) -> Judge | None:
        """The judge of the shards as they are at these versions."""
        async with self._lock:
            changed = any(self._versions.get(name) != version for name, version in versions.items())
            if (self._judge is None or changed) and time.monotonic() - self._made >= PAUSE:
                await self._renew()
            return self._judge

    async def _renew(self) -> None:
        told = await self._fan_out.ask({name: partial(self._ask, name, "sample_keys") for name in self._shards})
        counts = shares({name: keys for name, (_, keys) in told.values.items()})
        wanted = {name: partial(self._ask, name, "sample", count) for name, count in counts.items() if count}
        parts = await self._fan_out.ask(wanted)
        samples = [sample for sample in parts.values.values() if sample is not None]
        if samples:
            self._judge = await self._make(merged(samples).frames)
        self._versions = {name: version for name, (version, _) in told.values.items() if name not in parts.failed}
        self._made = time.monotonic()


def sure_hits(hits: list[dict], least: float | None) -> list[dict]:
    """The hits of at least this confidence."""
    if not least:
        return hits
    if hits and all(hit["confidence"] is None for hit in hits):
        raise SilentError("how sure the hits are could not be told in time: ask again, or without min_confidence")
    return [hit for hit in hits if (hit["confidence"] or 0) >= least]
