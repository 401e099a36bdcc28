"""Questions to many shards: late, lost and refusing ones, and one order for all hits."""

import asyncio
import time

import pytest

from dmae.retrieval import VideoIndexError
from dmae.retrieval.serving.fan_out import SUSPECTED, FanOut, merge_hits
from dmae.retrieval.serving.options import ServingOptions
from dmae.retrieval.storage.sharding import shard_uris


class Lost(Exception):
    pass


def shard(*answers):
    """Gives these answers in turn, the last for ever; raises errors, and waits for as many seconds as a float says."""
    left = list(answers)

    async def answer():
        result = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(result, float):
            await asyncio.sleep(result)
        if isinstance(result, Exception):
            raise result
        return result

    return answer


def test_a_shard_that_is_late_or_broken_is_named_and_the_others_answer():
    fan_out = FanOut(timeout=0.1, retries=0)
    shards = {"a": shard(1), "late": shard(9.0), "broken": shard(RuntimeError("one\ntwo")), "b": shard(2)}
    answers = asyncio.run(fan_out.ask(shards))
    assert answers.values == {"a": 1, "b": 2}
    assert answers.failed == {"late": "did not answer in time", "broken": "RuntimeError: one two"}


def test_a_lost_process_is_asked_again_elsewhere():
    answers = asyncio.run(FanOut(1, 1, lost=(Lost,)).ask({"a": shard(Lost(), 1), "b": shard(Lost(), Lost(), 2)}))
    assert answers.values == {"a": 1} and list(answers.failed) == ["b"]


def test_what_is_wrong_with_the_question_is_raised():
    with pytest.raises(VideoIndexError, match="the filter"):
        asyncio.run(
            FanOut(1, 1, refused=(VideoIndexError,)).ask({"a": shard(1), "b": shard(VideoIndexError("the filter"))})
        )


def test_a_silent_shard_slows_down_one_question_only():
    async def ask_three_times():
        fan_out, seconds = FanOut(timeout=3 * SUSPECTED, retries=0), []
        shards = {"a": shard(1), "silent": shard(9.0, 9.0, 2)}
        for _ in range(3):
            started = time.perf_counter()
            answers = await fan_out.ask(shards)
            seconds.append(time.perf_counter() - started)
        return answers, seconds

    answers, (first, second, third) = asyncio.run(ask_three_times())
    assert first >= 3 * SUSPECTED > 2 * SUSPECTED > second and third < SUSPECTED
    assert answers.values == {"a": 1, "silent": 2}


def test_a_shard_that_is_back_but_slow_is_waited_for_again():
    down_then_back = [99.0, 2 * SUSPECTED, *[1.5 * SUSPECTED] * 20]  # seconds until each question's answer

    async def ask_often():
        fan_out, seconds, whole = FanOut(timeout=4 * SUSPECTED, retries=0), iter(down_then_back), []

        async def answer():
            await asyncio.sleep(next(seconds))
            return "here"

        for _ in range(6):
            whole.append(bool((await fan_out.ask({"a": answer})).values))
        return whole

    whole = asyncio.run(ask_often())
    assert whole[:2] == [False, False] and whole[-2:] == [True, True]


def test_hits_of_all_shards_are_in_one_order():
    hit = lambda video_id, score: {"id": video_id, "score": score}  # noqa: E731
    found = {"a": [hit("x", 0.9), hit("z", 0.5)], "b": [hit("y", 0.9), hit("w", 0.7)], "c": []}
    assert [h["id"] for h in merge_hits(found, 3)] == ["x", "y", "w"]
    assert [h["id"] for h in merge_hits(found, 3, offset=2)] == ["w", "z"]


def test_options_are_texts_or_values():
    assert shard_uris("s3://b/shards/*-of-3") == [f"s3://b/shards/{n}-of-3" for n in range(3)]
    options = ServingOptions.of({"model": "m", "shards": "x/*-of-2, y", "replicas": "2", "timeout": "1.5"})
    assert options.shards == ("x/0-of-2", "x/1-of-2", "y") and (options.replicas, options.timeout) == (2, 1.5)
    for wrong, message in (
        ({"shards": "x"}, "needs model"),
        ({"model": "m", "shards": "x", "replica": 2}, "no option 'replica'.*replicas"),
        ({"model": "m", "shards": "x", "replicas": "two"}, "replicas must be a number"),
        ({"model": "m", "shards": "x", "replicas": 0}, "replicas must be at least 1"),
        ({"model": "m", "shards": "x", "timeout": 0}, "timeout must be"),
        ({"model": "m", "shards": "x/*"}, "named as `dmae shard` prints them"),
    ):
        with pytest.raises(VideoIndexError, match=message):
            ServingOptions.of(wrong)
