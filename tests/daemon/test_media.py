"""Images on the socket: a model without eyes says so, and names one that has them."""

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.daemon.house import Serve, Wire, run
from umad.config import MediaSettings
from umad.content import MediaFile, PlacedFile
from umad.conversation import ChatMessage
from umad.daemon.senses import naming_others
from umad.errors import MediaUnsupported
from umad.protocol.frames import encode_frame
from umad.protocol.messages import Generate, encode_request
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Failed
from umad.testing import FakeModel

TEN_MB = bytes(10_000_000)


def asks(request_id: int, *turns: ChatMessage) -> Generate:
    sampling = SamplingParams(seed=1, max_tokens=2)
    return Generate(id=request_id, request=GenerateRequest(messages=turns, sampling=sampling))


def picture(text: str, data: bytes = b"png") -> ChatMessage:
    file = MediaFile(kind="image", data=data)
    return ChatMessage(role="user", content=text, media=(PlacedFile(at=len(text), file=file),))


def test_a_question_about_an_image_is_refused_and_a_history_with_one_is_answered(
    serve: Serve,
) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            now = await wire.stream(asks(1, picture("What is it?")))
            later = await wire.stream(
                asks(2, picture("See"), ChatMessage(role="user", content="Well?"))
            )

            assert isinstance(now.failed, Failed)
            assert (now.failed.code, now.failed.field) == (
                "media_unsupported",
                "messages[0].content[1]",
            )
            assert "no model that was loaded here can be asked about an image" in now.failed.message
            # Its words are a part of the prompt: "See[an image stood here; …] Well?".
            assert isinstance(later.done, Done)
            assert later.done.usage.prompt_tokens == 10

    run(test())


def test_a_model_with_eyes_gets_an_image_of_ten_megabytes_in_one_frame(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(media=("image",))) as house:
            wire = await house.connect()

            stream = await wire.stream(asks(1, picture("What is it?", TEN_MB)))

            assert isinstance(stream.done, Done)

    run(test())


def test_a_frame_of_too_many_images_ends_its_connection_and_no_other(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(media=("image",))) as house:
            wire, other = await house.connect(), await house.connect()
            body = encode_request(asks(1, picture("a", TEN_MB), picture("b", TEN_MB)))

            wire.send_bytes(encode_frame(body)[: 2**16])
            told = await asyncio.wait_for(_error(wire), 60)

            assert told.code == "frame_too_large"
            stream = await other.stream(asks(1, picture("c")))
            assert stream.done is not None

    run(test())


def test_a_request_has_as_many_files_as_were_set(serve: Serve) -> None:
    async def test() -> None:
        settings = {"media": MediaSettings(files=1)}
        async with serve(FakeModel(media=("image",)), several=settings) as house:
            wire = await house.connect()

            one = await wire.stream(asks(1, picture("a")))
            two = await wire.stream(asks(2, picture("a"), picture("b")))

            assert isinstance(one.done, Done)
            assert isinstance(two.failed, Failed)
            assert (two.failed.code, two.failed.field) == ("bad_request", "messages")
            assert "2 images and sounds, at most 1 are taken (media.files)" in two.failed.message

    run(test())


async def _error(wire: Wire) -> Failed:
    _, message = await wire.next()
    assert isinstance(message, Failed)
    return message


class Known:
    def __init__(self, name: str, *media: str) -> None:
        self.name = name
        self.facts: Mapping[str, Any] = {"media": media}


def test_an_error_names_the_models_that_can_be_asked() -> None:
    error = MediaUnsupported("this model reads only text", field="messages[0].content[1]")
    engines = [Known("blind"), Known("seer", "image"), Known("ear", "audio"), Known("all", "image")]

    named = naming_others(error, "image", engines)

    assert named.message.endswith("; seer and all here can be asked about an image")
    assert named.field == error.field


def test_an_image_that_ends_its_engine_twice_is_refused_by_name_and_no_other_stream_is_lost(
    serve: Serve,
) -> None:
    async def test() -> None:
        async with serve(FakeModel(media=("image",))) as house:
            wire, other = await house.connect(), await house.connect()
            beside = ChatMessage(role="user", content="a b c d")
            sampling = SamplingParams(seed=1, max_tokens=400)
            peer = GenerateRequest(messages=(beside,), sampling=sampling)
            going_on = asyncio.create_task(other.stream(Generate(id=1, request=peer)))

            poisoned = await wire.stream(asks(1, picture("crash@1")))
            again = await wire.stream(asks(2, picture("What is it?")))
            another = await wire.stream(asks(3, picture("What is it?", b"another")))
            peers = await going_on

            for refused in (poisoned, again):
                assert isinstance(refused.failed, Failed)
                assert refused.failed.code == "bad_media"
                assert refused.failed.field == "messages[0].content[1]"
            assert isinstance(another.done, Done)
            assert isinstance(peers.done, Done)
            assert peers.done.usage.completion_tokens == 400

    run(test())
