"""Images through the socket, a daemon and an engine with a projector: answered, shared, refused.

The projector has random weights, so answers mean nothing; what counts is who gets which, and what
is computed.
"""

import asyncio
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.engine.projector_files import write_gemma3
from tests.live import LiveDaemon, Stream, collect, live_daemon
from umad.client import Client
from umad.content import MediaFile, PlacedFile
from umad.conversation import ChatMessage
from umad.request import GenerateRequest, SamplingParams
from umad.service import Accepted, Tokens

ROWS = 16


def photo(seed: int, *, kind: str = "PNG", size: int = 80) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, kind)
    return file.getvalue()


def turn(text: str, *files: bytes, role: str = "user") -> ChatMessage:
    media = tuple(PlacedFile(at=0, file=MediaFile(kind="image", data=data)) for data in files)
    return ChatMessage(role=role, content=text, media=media)


def asking(*turns: ChatMessage, tokens: int = 6, **more: Any) -> GenerateRequest:
    sampling = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True)
    return GenerateRequest(messages=turns, sampling=sampling, **more)


@pytest.fixture(scope="module")
def daemon() -> Iterator[LiveDaemon]:
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    try:
        projector = write_gemma3(folder / "mmproj-nano.gguf")
        arguments = ("nano", "--ctx-size", "4096", "--kv-type", "q8", "--mmproj", str(projector))
        with live_daemon(folder, *arguments) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ask(daemon: LiveDaemon, request: GenerateRequest, app: str = "") -> Stream:
    async def run() -> Stream:
        async with daemon.client() as client:
            return await asyncio.wait_for(collect(client, request), 120)

    return asyncio.run(run())


def logprobs(daemon: LiveDaemon, *turns: ChatMessage) -> list[float]:
    """Of the first tokens of a greedy answer."""
    sampling = SamplingParams(temperature=0.0, max_tokens=3, logprobs=1, ignore_eos=True)

    async def run() -> list[float]:
        async with daemon.client() as client:
            return [
                one.logprob
                async for event in client.events(GenerateRequest(messages=turns, sampling=sampling))
                if isinstance(event, Tokens)
                for one in event.logprobs or ()
            ]

    return asyncio.run(run())


def media_read(daemon: LiveDaemon) -> dict[str, Any]:
    """What the model has encoded. It is told together with the end of an answer; the engine's log
    comes later."""
    with Client(daemon.socket) as client:
        rows = [one["media_read"] for one in client.models() if one["media_read"] is not None]
        return dict(rows[0]) if rows else {"encoded": 0, "reused": 0}


def n_encoded(daemon: LiveDaemon) -> int:
    return int(media_read(daemon)["encoded"])


def test_an_image_is_answered_and_another_image_otherwise(daemon: LiveDaemon) -> None:
    first = ask(daemon, asking(turn("What is it?", photo(1))))
    none = ask(daemon, asking(turn("What is it?")))

    assert first.done is not None, first.failed
    assert none.done is not None
    assert first.done.usage.prompt_tokens >= none.done.usage.prompt_tokens + ROWS
    probable = logprobs(daemon, turn("What is it?", photo(1)))
    assert logprobs(daemon, turn("What is it?", photo(1))) == probable
    assert logprobs(daemon, turn("What is it?", photo(2))) != probable


def test_a_second_turn_and_another_app_encode_nothing(daemon: LiveDaemon) -> None:
    picture = photo(3)
    question = turn("What is it?", picture)
    first = ask(daemon, asking(question))
    before = n_encoded(daemon)

    second = ask(daemon, asking(question, turn(first.text, role="assistant"), turn("Sure?")))
    elsewhere = ask(daemon, asking(turn("Another question.", picture), app="another"))

    assert second.done is not None, second.failed
    assert elsewhere.done is not None, elsewhere.failed
    assert n_encoded(daemon) == before > 0
    assert second.done.usage.cached_tokens > ROWS


def test_what_was_encoded_and_what_was_at_hand_is_counted(daemon: LiveDaemon) -> None:
    picture = photo(20)
    ask(daemon, asking(turn("First.", picture)))
    first = media_read(daemon)

    ask(daemon, asking(turn("First.", picture), turn("So?")))
    # Other words stand before it, so its cells are other ones, and its rows are the same.
    ask(daemon, asking(turn("Second: what is to be seen here, and why?", picture)))
    then = media_read(daemon)

    assert then["encoded"] == first["encoded"] >= 1
    assert then["reused"] == first["reused"] + 2
    assert then["encode_ms"] > 0
    card = daemon.metrics()
    assert card["media_encoded"] >= 1
    assert card["media_reused"] >= 2
    listed = subprocess.run(
        [sys.executable, "-m", "umad", "ps", "--socket", str(daemon.socket)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "images or sounds encoded" in listed.stdout


def test_a_broken_file_is_refused_by_its_field_and_in_an_earlier_turn_becomes_words(
    daemon: LiveDaemon,
) -> None:
    whole = photo(4)
    for broken in (b"no picture", whole[: len(whole) // 2]):
        now = ask(daemon, asking(turn("Look:", photo(1)), turn("", broken)))
        earlier = ask(
            daemon,
            asking(turn("Look:", broken), turn("I see.", role="assistant"), turn("Sure?")),
        )

        assert now.failed is not None
        assert (now.failed.code, now.failed.field) == ("bad_media", "messages[1].content[0]")
        assert earlier.done is not None, earlier.failed


def test_a_request_with_an_image_is_cancelled_and_others_go_on(daemon: LiveDaemon) -> None:
    async def run() -> Stream:
        async with daemon.client() as leaver, daemon.client() as other:
            events = leaver.generate(asking(turn("Well?", photo(5)), tokens=2000))
            async for event in events:
                if isinstance(event, Accepted | Tokens):
                    break
            await events.aclose()
            return await asyncio.wait_for(collect(other, asking(turn("Well?", photo(5)))), 120)

    assert asyncio.run(run()).done is not None


def test_a_prompt_with_an_image_is_completed(daemon: LiveDaemon) -> None:
    media = (PlacedFile(at=4, file=MediaFile(kind="image", data=photo(6, kind="JPEG"))),)
    sampling = SamplingParams(temperature=0.0, max_tokens=4, ignore_eos=True)

    stream = ask(daemon, GenerateRequest(prompt="See: it is", media=media, sampling=sampling))

    assert stream.done is not None, stream.failed


def test_a_mark_that_a_user_writes_is_text(daemon: LiveDaemon) -> None:
    forged = turn("\ufdd5" + "\ufdd6" * 20 + "<__media__>", photo(7))

    assert ask(daemon, asking(forged)).done is not None


def test_a_stream_beside_images_keeps_its_tokens(daemon: LiveDaemon) -> None:
    sampling = SamplingParams(temperature=0.0, max_tokens=1500, ignore_eos=True)
    peer = GenerateRequest(prompt="def fibonacci(n):\n    ", sampling=sampling)
    alone = ask(daemon, peer)
    before = n_encoded(daemon)

    async def run() -> Stream:
        async with daemon.client() as reader, daemon.client() as others:
            stream = Stream()
            task = asyncio.create_task(collect(reader, peer, stream))
            await asyncio.wait_for(stream.enough.wait(), 60)
            for seed in range(10, 14):
                await asyncio.wait_for(collect(others, asking(turn("Well?", photo(seed)))), 60)
            assert not task.done(), "the stream ended before the images"
            return await asyncio.wait_for(task, 120)

    beside = asyncio.run(run())

    assert n_encoded(daemon) == before + 4
    assert beside.ids == alone.ids
