"""Single answers, connecting and reconnecting of `AsyncClient`."""

import asyncio
import gc
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.client.scripted_daemon import FRAME_BYTES, Peer, daemon, daemon_thread, of_version, run
from umad.client import AsyncClient, ClientOptions
from umad.conversation import ChatMessage, ChatPrompt
from umad.errors import (
    BadConfig,
    BadRequest,
    ConnectionLost,
    DeadlineExceeded,
    FrameTooLarge,
    LimitExceeded,
    NoDaemon,
    ProtocolViolation,
    UmadError,
    UnknownModel,
    UnknownRequest,
    UnsupportedVersion,
)
from umad.estimate import MemoryEstimate
from umad.protocol.errors import ForeignError, error_of
from umad.protocol.messages import (
    Ping,
    Request,
    Tokenize,
    encode_error,
    encode_result,
)
from umad.request import GenerateRequest

Ask = Callable[[AsyncClient], Awaitable[Any]]
ESTIMATE = MemoryEstimate(
    path="/m.gguf",
    architecture="llama",
    ctx_tokens=256,
    trained_tokens=4096,
    n_streams=1,
    kv_type="F16",
    weights_bytes=10,
)


def answering(*values: Any) -> Callable[[Peer], Awaitable[None]]:
    """A script that answers as many requests as there are values."""

    async def script(peer: Peer) -> None:
        for value in values:
            request = await peer.hear()
            peer.say(encode_result(request.id, value))

    return script


@pytest.mark.parametrize(
    ("ask", "answer", "wanted"),
    [
        (lambda client: client.tokenize("hi"), [1, 2], (1, 2)),
        (lambda client: client.detokenize((1, 2)), "hi", "hi"),
        (lambda client: client.pieces((1, 2)), [b"h", b"\xc3"], (b"h", b"\xc3")),
        (lambda client: client.render(), {"template": "{}"}, ChatPrompt(template="{}")),
        (
            lambda client: client.render([ChatMessage(role="user", content="hi")]),
            {"template": "{}", "text": "<hi>", "ids": [7]},
            ChatPrompt(template="{}", text="<hi>", ids=(7,)),
        ),
        (lambda client: client.cancel("r-1"), None, None),
        (lambda client: client.set_priority("chat", "background"), 2, 2),
        (lambda client: client.load("m.gguf"), {"name": "m"}, {"name": "m"}),
        (lambda client: client.unload("m"), None, None),
        (lambda client: client.estimate("m", ctx_size=256), ESTIMATE.as_map(), ESTIMATE),
        (lambda client: client.models(), [{"name": "m"}], [{"name": "m"}]),
        (lambda client: client.adapters("m"), [{"name": "a", "id": 0}], [{"name": "a", "id": 0}]),
        (lambda client: client.sessions(), [], []),
        (lambda client: client.metrics(), {"p95_ms": 1.5}, {"p95_ms": 1.5}),
        (lambda client: client.ping(), None, None),
    ],
)
def test_every_question_gets_its_answer(path: str, ask: Ask, answer: Any, wanted: Any) -> None:
    async def main() -> Any:
        async with daemon(path, answering(answer)), AsyncClient(path) as client:
            return await ask(client)

    assert run(main()) == wanted


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda client: client.tokenize("hi"), [1, "2"]),
        (lambda client: client.detokenize((1,)), 7),
        (lambda client: client.pieces((1,)), ["a"]),
        (lambda client: client.render(), {"template": 1}),
        (lambda client: client.set_priority("chat", "background"), True),
        (lambda client: client.metrics(), None),
        (lambda client: client.models(), [1]),
        (lambda client: client.estimate("m"), {"path": "/m.gguf"}),
    ],
)
def test_an_answer_of_the_wrong_shape_is_refused(path: str, ask: Ask, answer: Any) -> None:
    async def main() -> Any:
        async with daemon(path, answering(answer)), AsyncClient(path) as client:
            return await ask(client)

    with pytest.raises(ProtocolViolation):
        run(main())


@pytest.mark.parametrize(
    "error",
    [
        UnknownModel("no model is called 'x'", field="model"),
        UnknownRequest("no such request"),
        error_of("code_of_next_year", "later", "somewhere", True),
    ],
)
def test_an_error_comes_back_as_what_it_was(path: str, error: UmadError) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.hear()
        peer.say(encode_error(error, request.id))

    async def main() -> None:
        async with daemon(path, script), AsyncClient(path) as client:
            await client.unload("x")

    with pytest.raises(type(error)) as caught:
        run(main())

    assert (caught.value.code, caught.value.message) == (error.code, error.message)
    assert (caught.value.field, caught.value.retryable) == (error.field, error.retryable)
    assert isinstance(caught.value, ForeignError) == (error.code == "code_of_next_year")


def test_a_client_knows_which_daemon_greeted_it(path: str) -> None:
    async def main() -> tuple[str, str]:
        client = AsyncClient(path)
        before = client.server
        async with daemon(path, answering()), client:
            return before, client.server

    assert run(main()) == ("", "scripted")


def test_answers_may_come_in_any_order(path: str) -> None:
    async def script(peer: Peer) -> None:
        requests = [await peer.hear() for _ in range(3)]
        for request in reversed(requests):
            assert isinstance(request, Tokenize)
            peer.say(encode_result(request.id, [len(request.text)]))

    async def main() -> list[tuple[int, ...]]:
        async with daemon(path, script), AsyncClient(path) as client:
            return await asyncio.gather(*[client.tokenize("x" * size) for size in (1, 2, 3)])

    assert run(main()) == [(1,), (2,), (3,)]


def test_an_answer_that_does_not_come_ends_the_wait_and_not_the_connection(path: str) -> None:
    async def script(peer: Peer) -> None:
        ignored, answered = await peer.hear(), await peer.hear_generate()
        peer.say(encode_result(ignored.id, "too late"))
        peer.say_text(answered.id, "here")
        peer.say_done(answered.id)

    async def main() -> str:
        options = ClientOptions(call_s=0.05)
        async with daemon(path, script), AsyncClient(path, options=options) as client:
            with pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
                await client.metrics()
            return await client.complete("x")  # for which that bound does not hold

    assert run(main()) == "here"


def test_a_request_the_daemon_would_not_take_is_refused_here(path: str) -> None:
    async def main() -> None:
        async with daemon(path, answering(None)), AsyncClient(path) as client:
            with pytest.raises(BadRequest, match=str(FRAME_BYTES)):
                await client.complete("x" * FRAME_BYTES)
            await client.ping()

    run(main())


def test_a_request_that_is_wrong_in_itself_never_leaves(path: str) -> None:
    heard: list[Request] = []

    async def script(peer: Peer) -> None:
        heard.append(await peer.hear())
        peer.say(encode_result(heard[0].id, None))

    async def main() -> None:
        async with daemon(path, script), AsyncClient(path) as client:
            with pytest.raises(BadRequest) as caught:
                await client.complete(GenerateRequest(prompt="a", prompt_ids=(1,)))
            assert caught.value.field == "prompt_ids"
            with pytest.raises(BadRequest, match="surrogate"):
                await client.tokenize("\ud800")
            await client.ping()

    run(main())

    assert isinstance(heard[0], Ping)


def test_a_large_request_is_sent_to_a_daemon_that_reads_slowly(path: str) -> None:
    text = "y" * (FRAME_BYTES - 100)

    async def script(peer: Peer) -> None:
        request = await peer.hear()
        assert isinstance(request, Tokenize)
        peer.say(encode_result(request.id, [len(request.text)]))

    async def main() -> tuple[int, ...]:
        async with daemon(path, script), AsyncClient(path) as client:
            return await client.tokenize(text)

    assert run(main()) == (len(text),)


# -- connecting ----------------------------------------------------------------------------------


def test_without_a_daemon_the_error_says_how_to_start_one(path: str) -> None:
    with pytest.raises(NoDaemon, match="umad serve"):
        run(AsyncClient(path).ping())


def test_a_socket_left_behind_is_no_daemon(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(path)
    assert stat.S_ISSOCK(os.stat(path).st_mode)

    with pytest.raises(NoDaemon, match="umad serve"):
        run(AsyncClient(path).ping())


def test_a_path_no_socket_can_have_is_refused_at_once(path: str) -> None:
    with pytest.raises(BadConfig, match="UMAD_SOCKET"):
        AsyncClient(path + "x" * 108)


def test_a_daemon_that_does_not_greet_is_given_up(path: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear_hello()
        await peer.hear()

    async def main() -> None:
        options = ClientOptions(connect_s=0.05)
        async with daemon(path, script, greet=False):
            await AsyncClient(path, options=options).ping()

    with pytest.raises(NoDaemon, match="see its log"):
        run(main())


def test_a_daemon_of_another_version_says_so(path: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear_hello()
        peer.say(encode_error(UnsupportedVersion("this daemon speaks version 2")))

    async def main() -> None:
        async with daemon(path, script, greet=False):
            await AsyncClient(path).ping()

    with pytest.raises(UnsupportedVersion, match="version 2"):
        run(main())


@pytest.mark.parametrize(
    ("version", "older"), [(2, "the client is older"), (0, "the daemon is older: upgrade umad")]
)
def test_a_daemon_that_greets_in_another_version_is_told_apart(
    path: str, version: int, older: str
) -> None:
    async def main() -> None:
        async with daemon(path, of_version(version), greet=False):
            await AsyncClient(path).ping()

    with pytest.raises(UnsupportedVersion, match=older):
        run(main())


def test_something_else_on_the_socket_is_recognised(path: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear_hello()
        peer.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def main() -> None:
        async with daemon(path, script, greet=False):
            await AsyncClient(path).ping()

    with pytest.raises(FrameTooLarge):
        run(main())


def test_a_message_that_is_none_ends_the_connection_with_a_reason(path: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear()
        peer.say(b"\xc1")
        await peer.hear()

    async def main() -> None:
        async with daemon(path, script), AsyncClient(path) as client:
            await client.ping()

    with pytest.raises(ProtocolViolation, match="version 1"):
        run(main())


def test_after_a_lost_connection_the_next_request_connects_anew(path: str) -> None:
    async def main() -> None:
        async with daemon(path, answering(None)):
            client = AsyncClient(path)
            await client.ping()
            with pytest.raises(ConnectionLost):
                await client.ping()
            await client.ping()
            await client.close()

    run(main())


def test_many_first_requests_share_one_connection(path: str) -> None:
    connections: list[Peer] = []

    async def script(peer: Peer) -> None:
        connections.append(peer)
        await answering(*[None] * 10)(peer)

    async def main() -> None:
        client = AsyncClient(path)
        async with daemon(path, script):
            await asyncio.gather(*[client.ping() for _ in range(10)])
            await client.close()

    run(main())

    assert len(connections) == 1


def test_a_closed_client_stays_closed(path: str) -> None:
    async def main() -> None:
        async with daemon(path, answering(None)):
            async with AsyncClient(path) as client:
                await client.ping()
            await client.ping()

    with pytest.raises(ConnectionLost, match="was closed"):
        run(main())


# asyncio warns of the connection that the first loop left open.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestWarning")
def test_a_client_goes_on_with_the_next_loop_when_its_first_has_ended(path: str) -> None:
    with daemon_thread(path, answering([1])):
        client = AsyncClient(path)

        answers = [asyncio.run(client.tokenize("hi")) for _ in range(2)]
        asyncio.run(client.close())
        gc.collect()  # here, where the warning is expected

    assert answers == [(1,), (1,)]


def test_a_client_is_not_used_on_two_loops_at_once(path: str) -> None:
    async def main() -> None:
        async with daemon(path, answering([1])), AsyncClient(path) as client:
            with pytest.raises(LimitExceeded, match="another event loop"):
                await asyncio.to_thread(lambda: asyncio.run(client.tokenize("hi")))

            assert await client.tokenize("hi") == (1,)

    run(main())
