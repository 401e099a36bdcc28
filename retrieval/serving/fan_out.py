"""One question to many shards: whoever answers in time counts, whoever does not is named."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

SUSPECTED = 0.25  # seconds that a shard is waited for that did not answer the last time


@dataclass
class Answers:
    """What came back.

    Attributes:
        values: by the name of the shard. failed: why the others did not answer, in one line each.
    """

    values: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class FanOut:
    """Puts questions to shards.

    A shard that did not answer is waited for only briefly until it answers again, so that its restart slows down
    nobody.

    Args:
        timeout: seconds for an answer.
        retries: how often the question is put again where `lost` was raised: to another replica.
        lost: errors that say that the process that was asked is gone.
        refused: errors of the question itself, which are raised as they are.
    """

    def __init__(self, timeout: float, retries: int, lost: tuple = (), refused: tuple = ()):
        self.timeout = timeout
        self.retries = retries
        self.lost = lost
        self.refused = refused
        self._suspected: set[str] = set()

    async def ask(self, shards: Mapping[str, Callable[[], Awaitable]]) -> Answers:
        """The answers of all shards, each of which is called to get an awaitable."""
        answers = Answers()
        results = await asyncio.gather(*(self._ask_one(*shard) for shard in shards.items()), return_exceptions=True)
        for name, result in zip(shards, results):
            if isinstance(result, (*self.refused, asyncio.CancelledError)):
                raise result
            if isinstance(result, BaseException):
                answers.failed[name] = _reason(result)
                self._suspected.add(name)
            else:
                answers.values[name] = result
                self._suspected.discard(name)
        return answers

    async def _ask_one(self, name: str, call: Callable[[], Awaitable]):
        seconds = min(self.timeout, SUSPECTED) if name in self._suspected else self.timeout
        return await asyncio.wait_for(self._attempts(call), seconds)

    async def _attempts(self, call: Callable[[], Awaitable]):
        for _ in range(self.retries):
            with suppress(*self.lost):
                return await call()
        return await call()


def merge_hits(found: Mapping[str, list[dict]], k: int, offset: int = 0) -> list[dict]:
    """The hits of all shards as one index would list them, best first."""
    hits = [hit for shard in found.values() for hit in shard]
    return sorted(hits, key=lambda hit: (-hit["score"], hit["id"]))[offset : offset + k]


def _reason(error: BaseException) -> str:
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):  # two classes before Python 3.11
        return "did not answer in time"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
