"""What one connection may do, and that it is the only one to notice."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.daemon.house import Serve, Wire, asks, run, tokens_of, until
from umad.embedding import EmbedRequest
from umad.protocol.frames import encode_frame
from umad.protocol.messages import Cancel, Embed, Generate, Hello, Models, Ping, Sessions, Welcome
from umad.request import GenerateRequest, SamplingParams
from umad.service import Accepted, Done, Failed
from umad.testing import FakeModel

MALFORMED = {
    "not msgpack": encode_frame(b"\xc1\xc1\xc1"),
    "not a map": encode_frame(b"\x93\x01\x02\x03"),
    "an empty body": encode_frame(b""),
    "a frame that announces four gigabytes": struct.pack(">I", 2**32 - 1),
    "a request before the hello": encode_frame(b"\x82\xa4type\xa4ping\xa2id\x01"),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_nonsense_ends_its_own_connection_with_an_error_and_disturbs_nobody(
    serve: Serve, data: bytes
) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            neighbour = await house.connect()
            neighbour.send(asks(1, max_tokens=100))
            rude = await house.connect(greet=False)

            rude.send_bytes(data)

            _, message = await rude.next()
            assert isinstance(message, Failed)
            assert message.code in ("protocol_error", "frame_too_large")
            assert await rude.hung_up()
            stream = (await neighbour.collect(1))[1]
            assert stream.ids == tokens_of(7, 100)

    run(test())


def test_a_hello_of_another_version_is_told_so(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect(greet=False)

            wire.send(Hello(protocol=999, client="test"))

            _, message = await wire.next()
            assert isinstance(message, Failed)
            assert message.code == "unsupported_version"
            assert await wire.hung_up()

    run(test())


def test_the_welcome_says_how_long_a_frame_may_be(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), frame_bytes=4096) as house:
            wire = await house.connect(greet=False)

            wire.send(Hello(client="test"))

            _, message = await wire.next()
            assert isinstance(message, Welcome)
            assert message.frame_bytes == 4096

    run(test())


def test_another_users_process_is_refused_with_an_error_it_can_read(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            own_uid = os.getuid()
            monkeypatch.setattr("umad.daemon.server.os.getuid", lambda: own_uid + 1)

            wire = await house.connect(greet=False)

            _, message = await wire.next()
            assert isinstance(message, Failed)
            assert message.code == "refused"
            assert await wire.hung_up()

    run(test())


def test_silence_instead_of_a_hello_ends_the_connection(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), hello_s=0.1) as house:
            wire = await house.connect(greet=False)

            _, message = await wire.next()

            assert isinstance(message, Failed)
            assert message.code == "protocol_error"
            assert "hello" in message.message
            assert await wire.hung_up()

    run(test())


def test_half_a_frame_held_too_long_ends_the_connection(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), half_frame_s=0.1) as house:
            wire = await house.connect()

            wire.send_bytes(b"\x00\x00")

            _, message = await wire.next()
            assert isinstance(message, Failed)
            assert "rest of a frame" in message.message
            assert await wire.hung_up()

    run(test())


def test_a_frame_that_arrives_byte_by_byte_in_time_is_taken(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            for byte in encode_frame(b"\x82\xa4type\xa4ping\xa2id\x01"):
                wire.send_bytes(bytes([byte]))
                await asyncio.sleep(0)

            request_id, _ = await wire.next()
            assert request_id == 1

    run(test())


def test_one_connection_too_many_is_refused_and_can_be_tried_again(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), connections=2) as house:
            first, _ = await house.connect(), await house.connect()

            third = await house.connect(greet=False)
            _, message = await third.next()

            assert isinstance(message, Failed)
            assert message.code == "limit_exceeded"
            assert message.retryable
            assert await third.hung_up()

            await first.close()

            async def has_room() -> bool:
                wire = await house.connect(greet=False)
                wire.send(Hello(client="test"))
                _, answer = await wire.next()
                return isinstance(answer, Welcome)

            await until(has_room)

    run(test())


def test_an_id_that_is_live_on_the_connection_is_refused(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            wire.send(asks(1, max_tokens=2000))
            await wire.next()

            wire.send(asks(1))

            while not isinstance(message := (await wire.next())[1], Failed):
                pass
            assert message.code == "bad_request"
            assert message.field == "id"

    run(test())


def test_two_connections_may_use_the_same_id(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            one, other = await house.connect(), await house.connect()
            one.send(asks(1, seed=1))
            other.send(asks(1, seed=2))

            streams = [(await wire.collect(1))[1] for wire in (one, other)]

            assert [stream.ids for stream in streams] == [tokens_of(1, 5), tokens_of(2, 5)]

    run(test())


def test_more_live_requests_than_a_connection_may_have_are_refused(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), requests_per_connection=2) as house:
            wire = await house.connect()
            wire.send(asks(1, max_tokens=2000), asks(2, max_tokens=2000))

            stream = await wire.stream(asks(3))

            assert stream.failed is not None
            assert stream.failed.code == "limit_exceeded"
            assert stream.failed.retryable

    run(test())


def test_whoever_has_as_many_requests_as_it_may_can_still_cancel_one(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), requests_per_connection=2) as house:
            wire = await house.connect()
            wire.send(asks(1, max_tokens=2000), asks(2, max_tokens=2000))
            wire.send(Cancel(id=3, own_id=1))

            stream = (await wire.collect(1))[1]

            assert stream.done is not None
            assert stream.done.finish_reason == "cancelled"
            assert (await wire.stream(asks(4))).done is not None

    run(test())


def test_the_queue_has_a_length_and_says_when_it_is_full(serve: Serve, tmp_path: object) -> None:
    async def test() -> None:
        async with serve(FakeModel(wait_for=f"{tmp_path}/never"), wait=False, queue=3) as house:
            wire = await house.connect()
            wire.send(asks(1), asks(2), asks(3))
            positions = []
            for _ in range(3):
                _, message = await wire.next()
                assert isinstance(message, Accepted)
                positions.append(message.queue_position)

            stream = await wire.stream(asks(4))

            assert positions == [0, 1, 2]
            assert stream.failed is not None
            assert (stream.failed.code, stream.failed.retryable) == ("queue_full", True)

    run(test())


def test_more_tokens_than_allowed_are_refused_with_the_limits_name(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), max_tokens=100) as house:
            wire = await house.connect()

            stream = await wire.stream(asks(1, max_tokens=101))

            assert stream.failed is not None
            assert stream.failed.code == "bad_request"
            assert stream.failed.field == "max_tokens"
            assert "--max-tokens" in stream.failed.message

    run(test())


def test_an_unknown_lane_is_refused_and_the_connection_lives_on(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            stream = await wire.stream(asks(1, lane="interactiv"))

            assert stream.failed is not None
            assert "did you mean interactive" in stream.failed.message
            assert await wire.ask(Ping(id=2)) is None

    run(test())


def test_a_crowd_that_comes_while_the_daemon_is_busy_waits_at_the_door(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            crowd = [socket.socket(socket.AF_UNIX) for _ in range(250)]
            try:
                # All of them before the daemon's loop, which is this one, takes the first.
                for one in crowd:
                    one.setblocking(False)
                    one.connect(os.fspath(house.socket))

                assert await (await house.connect()).ask(Models(id=1))
            finally:
                for one in crowd:
                    one.close()

    run(test())


def test_one_app_leaves_room_in_the_queue_for_others(serve: Serve, tmp_path: object) -> None:
    async def test() -> None:
        async with serve(FakeModel(wait_for=f"{tmp_path}/never"), wait=False, queue=8) as house:
            wire = await house.connect()
            wire.send(*[asks(at, app="greedy") for at in range(6)])

            refused = await wire.stream(asks(6, app="greedy"))
            wire.send(asks(7, app="modest"))

            assert refused.failed is not None
            assert (refused.failed.code, refused.failed.retryable) == ("queue_full", True)
            assert "greedy" in refused.failed.message
            assert isinstance((await wire.next())[1], Accepted)

    run(test())


def test_an_apps_embeddings_count_as_its_part_of_the_queue(serve: Serve, tmp_path: object) -> None:
    def embeds(at: int, app: str) -> Embed:
        return Embed(id=at, request=EmbedRequest(inputs=("a text",), app=app))

    async def test() -> None:
        async with serve(FakeModel(wait_for=f"{tmp_path}/never"), wait=False, queue=8) as house:
            wire = await house.connect()

            def live_of_greedy(n: int) -> Callable[[], Awaitable[bool]]:
                async def are_live() -> bool:
                    apps = [row["app"] for row in await wire.ask(Sessions(id="apps"))]
                    return sorted(apps) == ["greedy"] * n + ["modest"]

                return are_live

            wire.send(asks(0, app="greedy"), *[embeds(at, "greedy") for at in range(1, 6)])

            refused = await wire.ask(embeds(6, "greedy"))
            wire.send(embeds(7, "modest"))

            assert isinstance(refused, Failed)
            assert (refused.code, refused.retryable) == ("queue_full", True)
            assert "greedy" in refused.message
            await until(live_of_greedy(6))

            wire.send(*[Cancel(id=f"cancel {at}", own_id=at) for at in range(1, 6)])
            await until(live_of_greedy(1))
            wire.send(*[embeds(at, "greedy") for at in range(11, 16)])
            await until(live_of_greedy(6))

    run(test())


async def ends(wire: Wire, n: int) -> list[type]:
    """How the next `n` completions end, or those up to the first that fails."""
    found: list[type] = []
    while len(found) < n and Failed not in found:
        _, message = await wire.next()
        if isinstance(message, Done | Failed):
            found.append(type(message))
    return found


def test_an_app_whose_requests_end_may_ask_again(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), queue=4) as house:
            wire = await house.connect()
            for at in range(10):
                wire.send(asks(at, n=3))
                assert await ends(wire, 3) == [Done] * 3
                wire.send(
                    asks(f"dropped {at}", max_tokens=2000), Cancel(id=-1, own_id=f"dropped {at}")
                )
                await wire.collect(f"dropped {at}")
            for _ in range(4):
                other = await house.connect()
                other.send(asks(1, max_tokens=2000, n=3))
                await other.next()
                await other.close()

            async def is_served() -> bool:
                return (await wire.stream(asks("last", n=3))).done is not None

            await until(is_served)

    run(test())


def test_what_the_log_probabilities_of_one_request_come_to_has_a_bound(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), max_tokens=4000) as house:
            wire = await house.connect()

            def request(name: str, **values: Any) -> Generate:
                sampling = SamplingParams(seed=7, logprobs=20, **values)
                asked = GenerateRequest(prompt="a b", n=16, sampling=sampling)
                return Generate(id=name, request=asked)

            refused = (await wire.stream(request("many", max_tokens=2000))).failed
            fitted = await wire.stream(request("fit", fit=True))
            few = await wire.stream(request("few", max_tokens=5))

            assert refused is not None
            assert (refused.code, refused.field) == ("bad_request", "logprobs")
            assert "819 tokens" in refused.message
            assert fitted.failed is None
            assert few.failed is None

    run(test())
