"""What the ingress does where an encoder does not answer as it should, and what it asks one for."""

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("ray.serve")

from ray.exceptions import RayActorError

from dmae.retrieval.serving.app import ENCODERS_TRIED, SearchService
from dmae.retrieval.serving.fan_out import SilentError


def asked_of_encoders(answer, timeout: float = 0.05):
    """What `_ask_encoder` makes of encoders that answer so, and how many were asked."""
    asked = []

    def call():
        asked.append("a dog")
        return answer(len(asked))

    try:
        service = SimpleNamespace(timeout=timeout)
        return asyncio.run(SearchService.func_or_class._ask_encoder(service, call)), len(asked)
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
    assert asked_of_encoders(dies_then_answers) == ("encoded", ENCODERS_TRIED)


@pytest.mark.parametrize(("answer", "asked"), [(dies, ENCODERS_TRIED), (never_answers, 1)])
def test_nobody_waits_for_ever(answer, asked):
    assert asked_of_encoders(answer) == ("no encoder answered in time: ask again", asked)
