"""Guesses of next tokens through the whole of umad: the same text, whatever happens meanwhile.

With Q8_0 weights and a Q8_0 cache a CPU computes the same bits for every batch. How many guesses
are verified depends on the machine's speed, and no answer does.
"""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.live import Stream, collect, greedy, live_daemon
from umad.request import GenerateRequest

CODE = """def area(width, height):
    return width * height


def volume(width, height, depth):
    return width * height * depth


def area(width, height):
"""
ARGUMENTS = ("--speculate", "--ctx-size", "4096", "--kv-type", "q8")


def requests() -> list[GenerateRequest]:
    request = greedy(CODE, 200)
    sampled = replace(request.sampling, temperature=0.5, seed=7, logprobs=1)
    stopped = replace(request.sampling, stop=("depth",))
    return [
        request,
        replace(request, sampling=sampled),
        replace(request, sampling=stopped),
        replace(request, lane="background"),
    ]


def test_answers_are_the_same_with_guesses_and_without(short_tmp_path: Path) -> None:
    async def run() -> tuple[list[Stream], list[Stream]]:
        async with daemon.client() as client:
            guessed = [await collect(client, one) for one in requests()]
            plain = [await collect(client, replace(one, speculate=False)) for one in requests()]
            return guessed, plain

    with live_daemon(short_tmp_path, "nano", *ARGUMENTS) as daemon:
        guessed, plain = asyncio.run(run())
        card = daemon.metrics()

    for one, other in zip(guessed, plain, strict=True):
        assert one.ids == other.ids
        assert one.text == other.text
        assert one.done is not None
        assert other.done is not None
        assert one.done.finish_reason == other.done.finish_reason
    assert {"accepted_per_step", "speculation_gain"} <= card.keys()


@pytest.mark.parametrize("more", [(), ("--draft", "nano")], ids=["text", "draft"])
def test_an_answer_with_guesses_outlives_its_engine(
    short_tmp_path: Path, more: tuple[str, ...]
) -> None:
    request = requests()[1]

    async def run() -> tuple[Stream, Stream]:
        async with daemon.client() as client:
            plain = await collect(client, replace(request, speculate=False))
            stream = Stream()
            task = asyncio.create_task(collect(client, request, stream))
            await stream.enough.wait()
            (engine,) = daemon.engines()
            os.kill(engine.pid, signal.SIGKILL)
            return plain, await task

    with live_daemon(short_tmp_path, "nano", *ARGUMENTS, *more) as daemon:
        plain, guessed = asyncio.run(run())

    assert guessed.ids == plain.ids
    assert guessed.text == plain.text
