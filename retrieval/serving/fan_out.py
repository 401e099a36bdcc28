"""One question to many shards: whoever answers in time counts, whoever does not is named."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

SUSPECTED = 0.25  # seconds that a shard is waited for that did not answer the last time


class SilentError(Exception):
    """An encoder, or the shard that may hold what was asked for, did not answer."""


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
    nobody. One of the questions is left to it for longer: its answer, which nobody waits for, tells that it is back.

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
        self._left: dict[str, asyncio.Future] = {}  # by the name of the shard

    async def ask(self, shards: Mapping[str, Callable[[], Awaitable]]) -> Answers:
        """The answers of all shards, each of which is called to get an awaitable."""
        answers = Answers()
        results = await asyncio.gather(*(self._ask_one(*shard) for shard in shards.items()), return_exceptions=True)
        for name, result in zip(shards, results):
            if isinstance(result, (*self.refused, asyncio.CancelledError)):
                raise result
            if isinstance(result, BaseException):
                answers.failed[name] = _reason(result)
            else:
                answers.values[name] = result
        return answers

    async def _ask_one(self, name: str, call: Callable[[], Awaitable]):
        suspected, question = name in self._suspected, asyncio.ensure_future(self._attempts(call))
        try:
            await asyncio.wait({question}, timeout=min(self.timeout, SUSPECTED) if suspected else self.timeout)
        except asyncio.CancelledError:
            question.cancel()
            raise
        if question.done():
            self._judge(name, question)
            return question.result()
        if suspected and name not in self._left:
            self._leave(name, question)
        else:
            question.cancel()
        if not suspected:
            self._suspected.add(name)
        raise TimeoutError

    def _leave(self, name: str, question: asyncio.Future) -> None:
        """Lets a question go on that nobody waits for."""

        def done(answered: asyncio.Future) -> None:
            del self._left[name]
            self._judge(name, answered)

        self._left[name] = question
        question.add_done_callback(done)
        asyncio.get_running_loop().call_later(self.timeout, question.cancel)

    def _judge(self, name: str, answered: asyncio.Future) -> None:
        """Suspects a shard, or no longer, by what came of a question."""
        if answered.cancelled():
            return
        if isinstance(answered.exception(), (*self.refused, type(None))):
            self._suspected.discard(name)
        else:
            self._suspected.add(name)

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
