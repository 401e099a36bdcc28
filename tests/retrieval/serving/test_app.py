"""What the ingress does where an encoder does not answer as it should."""

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("ray.serve")

from ray.exceptions import RayActorError

from dmae.retrieval.serving.app import ENCODERS_TRIED, SearchService, SilentError


def encode(answer, timeout: float = 0.05):
    """What `_encode` makes of encoders that answer so, and how many were asked."""
    asked = []

    def remote(text: str):
        asked.append(text)
        return answer(len(asked))

    service = SimpleNamespace(timeout=timeout, encoder=SimpleNamespace(encode=SimpleNamespace(remote=remote)))
    try:
        return asyncio.run(SearchService.func_or_class._encode(service, "a dog")), len(asked)
    except SilentError as error:
        return str(error), len(asked)


async def dies_then_answers(number: int) -> str:
    if number < ENCODERS_TRIED:
        raise RayActorError
    return "encoded"


async def dies(number: int) -> str:
    raise RayActorError


async def never_answers(number: int) -> str:
    await asyncio.sleep(60)
    return "too late"


def test_another_encoder_is_asked_where_one_has_died():
    assert encode(dies_then_answers) == ("encoded", ENCODERS_TRIED)


@pytest.mark.parametrize(("answer", "asked"), [(dies, ENCODERS_TRIED), (never_answers, 1)])
def test_nobody_waits_for_ever(answer, asked):
    assert encode(answer) == ("no encoder answered in time: ask again", asked)
