"""What a program without an event loop sees of the daemon through `Client`."""

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from tests.client.scripted_daemon import PATIENCE_S, Peer, ask, daemon_thread, done, texts
from umad.client import Client, ClientOptions
from umad.conversation import ChatPrompt
from umad.errors import (
    BadConfig,
    BadRequest,
    ConnectionLost,
    DeadlineExceeded,
    EngineFailed,
    LimitExceeded,
    NoDaemon,
    ProtocolViolation,
    ShuttingDown,
    UnknownModel,
    UnsupportedVersion,
)
from umad.protocol.messages import Cancel, Generate, Request, encode_error, encode_result
from umad.request import ChatMessage
from umad.service import Event, Failed


async def answer_hello_world(peer: Peer) -> None:
    while True:
        request = await peer.hear_generate()
        peer.say_accepted(request.id)
        peer.say_text(request.id, "hello ")
        peer.say_text(request.id, "world")
        peer.say_done(request.id)


async def say_pieces_until_cancelled(peer: Peer) -> None:
    """Each generation is left half done; the cancel and every ping are answered."""
    while True:
        request = await peer.hear()
        if isinstance(request, Generate):
            peer.say_text(request.id, "first ")
            peer.say_text(request.id, "second")
        else:
            peer.say(encode_result(request.id, None))


def test_a_stream_brings_every_event_in_order_and_ends_with_done(path: str) -> None:
    with daemon_thread(path, answer_hello_world), Client(path) as client:
        events = list(client.generate(ask()))

    assert [type(event).__name__ for event in events] == ["Accepted", "Tokens", "Tokens", "Done"]
    assert texts(events) == ["hello ", "world"]
    assert events[-1] == done()


def test_complete_returns_the_text_and_the_client_can_be_used_again(path: str) -> None:
    with daemon_thread(path, answer_hello_world), Client(path) as client:
        first = client.complete("hi")
        second = client.complete([ChatMessage(role="user", content="hi")])

    assert (first, second) == ("hello world", "hello world")


def test_a_client_knows_which_daemon_greeted_it(path: str) -> None:
    with daemon_thread(path, answer_hello_world), Client(path) as client:
        before = client.server
        client.complete("hi")

        assert (before, client.server) in (("", "scripted"), ("scripted", "scripted"))


def test_complete_wants_one_completion(path: str) -> None:
    with daemon_thread(path, answer_hello_world), Client(path) as client:
        with pytest.raises(BadRequest) as caught:
            client.complete(ask(n=2))
        assert caught.value.field == "n"
        assert client.complete("hi") == "hello world"


@pytest.mark.parametrize(
    ("ask_it", "answer", "wanted"),
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
        (lambda client: client.models(), [{"name": "m"}], [{"name": "m"}]),
        (lambda client: client.sessions(), [], []),
        (lambda client: client.metrics(), {"p95_ms": 1.5}, {"p95_ms": 1.5}),
        (lambda client: client.ping(), None, None),
    ],
)
def test_every_question_gets_its_answer(
    path: str, ask_it: Callable[[Client], Any], answer: Any, wanted: Any
) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.hear()
        peer.say(encode_result(request.id, answer))

    with daemon_thread(path, script), Client(path) as client:
        assert ask_it(client) == wanted


def test_an_error_of_the_daemon_is_raised_by_what_has_one_answer(path: str) -> None:
    async def script(peer: Peer) -> None:
        question = await peer.hear()
        peer.say(encode_error(UnknownModel("no model is called 'x'", field="model"), question.id))
        generation = await peer.hear()
        peer.say(encode_error(EngineFailed("it crashed"), generation.id))
        for _ in range(2):
            stream = await peer.hear()
            peer.say(encode_error(EngineFailed("it crashed"), stream.id))

    with daemon_thread(path, script), Client(path) as client:
        with pytest.raises(UnknownModel, match="no model is called 'x'"):
            client.unload("x")
        with pytest.raises(EngineFailed, match="it crashed"):
            client.complete("hi")
        with pytest.raises(EngineFailed, match="it crashed"):
            list(client.generate(ask()))
        (event,) = client.events(ask())

    assert isinstance(event, Failed)
    assert event.code == "engine_failed"


def test_leaving_the_iterator_cancels_the_request_and_its_late_events_are_dropped(
    path: str,
) -> None:
    heard: list[Request] = []

    async def script(peer: Peer) -> None:
        left = await peer.hear_generate()
        peer.say_text(left.id, "first")
        heard.extend([left, await peer.hear()])
        peer.say_text(left.id, "late")
        peer.say_done(left.id)
        peer.say(encode_result(heard[1].id, None))
        following = await peer.hear_generate()
        peer.say_text(following.id, "on time")
        peer.say_done(following.id)

    with daemon_thread(path, script), Client(path) as client:
        for _ in client.generate(ask()):
            break
        answer = client.complete("again")

    assert isinstance(heard[1], Cancel)
    assert heard[1].own_id == heard[0].id
    assert answer == "on time"


def test_ctrl_c_in_a_stream_cancels_the_request_and_keeps_the_connection(path: str) -> None:
    with daemon_thread(path, say_pieces_until_cancelled), Client(path) as client:
        stream = client.generate(ask())
        next(stream)

        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt)

        client.ping()


def test_two_requests_at_once_are_refused_with_what_to_do(path: str) -> None:
    with daemon_thread(path, say_pieces_until_cancelled), Client(path) as client:
        with closing(client.generate(ask())) as stream:
            next(stream)

            with pytest.raises(LimitExceeded, match="second client"):
                client.ping()

            assert texts([next(stream)]) == ["second"]
        client.ping()


def test_a_second_thread_is_refused_and_does_not_take_the_firsts_answer(path: str) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    async def script(peer: Peer) -> None:
        request = await peer.hear()
        asked.set()
        assert await asyncio.to_thread(may_answer.wait, PATIENCE_S)
        peer.say(encode_result(request.id, [7]))
        await answer_hello_world(peer)

    with daemon_thread(path, script), Client(path) as client, ThreadPoolExecutor(1) as first:
        answer = first.submit(client.tokenize, "x")
        assert asked.wait(PATIENCE_S)

        with pytest.raises(LimitExceeded, match="threads need one each"):
            client.ping()

        may_answer.set()
        assert answer.result(PATIENCE_S) == (7,)
        assert client.complete("hello") == "hello world"


def test_a_daemon_that_dies_in_mid_stream_loses_no_event_it_sent(path: str) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.hear_generate()
        peer.say_text(request.id, "as far as this")

    events: list[Event] = []
    with daemon_thread(path, script), Client(path) as client:
        stream = client.generate(ask())
        events.append(next(stream))
        with pytest.raises(ConnectionLost):
            next(stream)

    assert texts(events) == ["as far as this"]


def test_after_a_restart_of_the_daemon_the_next_request_connects_anew(path: str) -> None:
    client = Client(path)
    with daemon_thread(path, answer_hello_world):
        before = client.complete("hi")
    with daemon_thread(path, answer_hello_world):
        after = client.complete("hi")
        client.close()

    assert before == after == "hello world"


def test_the_daemons_reason_for_closing_reaches_who_was_waiting(path: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear()
        peer.say(encode_error(ShuttingDown("the daemon stops")))

    with (
        daemon_thread(path, script),
        Client(path) as client,
        pytest.raises(ShuttingDown, match="the daemon stops"),
    ):
        client.ping()


def test_a_daemon_that_says_nothing_is_given_up_and_the_request_cancelled(path: str) -> None:
    heard: list[Request] = []
    cancelled = threading.Event()

    async def script(peer: Peer) -> None:
        await peer.hear_generate()
        heard.append(await peer.hear())
        cancelled.set()
        await peer.hear()

    options = ClientOptions(event_s=0.05)
    with daemon_thread(path, script), Client(path, options=options) as client:
        with pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
            client.complete("hi")
        assert cancelled.wait(PATIENCE_S)

    assert isinstance(heard[0], Cancel)


def test_a_request_the_daemon_does_not_take_in_time_is_given_up(path: str) -> None:
    stop = threading.Event()

    async def script(peer: Peer) -> None:
        # Reads nothing: a paused reader leaves the request in the socket's buffers.
        peer.pause_hearing()
        stop.set()
        await peer.wait_for_cancellation()

    options = ClientOptions(call_s=0.05)
    with daemon_thread(path, script), Client(path, options=options) as client:
        assert stop.wait(PATIENCE_S)
        with pytest.raises(DeadlineExceeded, match="did not take"):
            client.tokenize("x" * 1_000_000)


def test_without_a_daemon_the_error_says_how_to_start_one(path: str) -> None:
    with pytest.raises(NoDaemon, match="umad serve"):
        Client(path).ping()


def test_a_socket_left_behind_is_no_daemon(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(path)

    with pytest.raises(NoDaemon, match="umad serve"):
        Client(path).ping()


def test_a_path_no_socket_can_have_is_refused_at_once(path: str) -> None:
    with pytest.raises(BadConfig, match="UMAD_SOCKET"):
        Client(path + "x" * 108)


def test_a_daemon_that_does_not_greet_is_given_up(path: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear_hello()
        await peer.hear()

    with daemon_thread(path, script, greet=False), pytest.raises(NoDaemon, match="see its log"):
        Client(path, options=ClientOptions(connect_s=0.05)).ping()


def test_a_daemon_of_another_version_says_so(path: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear_hello()
        peer.say(encode_error(UnsupportedVersion("this daemon speaks version 2")))

    with daemon_thread(path, script, greet=False), pytest.raises(UnsupportedVersion):
        Client(path).ping()


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\1\xc1"])
def test_something_else_on_the_socket_is_recognised(path: str, garbage: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear_hello()
        peer.writer.write(garbage)

    with daemon_thread(path, script, greet=False), pytest.raises(ProtocolViolation):
        Client(path).ping()


def test_a_closed_client_stays_closed(path: str) -> None:
    with daemon_thread(path, answer_hello_world):
        with Client(path) as client:
            client.complete("hi")
        with pytest.raises(ConnectionLost, match="was closed"):
            client.complete("hi")
