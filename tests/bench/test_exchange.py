"""Traces read from what umad and llama-server send, whole or cut off."""

import asyncio
from collections.abc import Sequence

import pytest

from bench.errors import BenchError
from bench.exchange import Exchange, server_trace, umad_trace
from bench.latency import Trace
from umad.errors import BadRequest
from umad.protocol.messages import encode_error, encode_event, encode_tokens
from umad.request import Timings, Usage
from umad.service import Done, Progress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
DONE = encode_event(
    0,
    Done(
        index=0,
        finish_reason="length",
        usage=Usage(prompt_tokens=60, cached_tokens=0, completion_tokens=3),
        timings=Timings(queued_ms=0.0, first_token_ms=1.0, total_ms=2.0),
    ),
)


def exchange(pieces: Sequence[tuple[int, bytes]], *, ended: bool = True) -> Exchange:
    future: asyncio.Future[None] = asyncio.Future(loop=asyncio.new_event_loop())
    if ended:
        future.set_result(None)
    future.get_loop().close()
    return Exchange(prompt_tokens=60, asked_tokens=8, sent_ns=5, ended=future, pieces=list(pieces))


def counts(trace: Trace) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return (
        [(arrival.at_ns, arrival.tokens) for arrival in trace.arrivals],
        [(arrival.at_ns, arrival.tokens) for arrival in trace.prompt],
    )


def test_umads_progress_and_text_are_read() -> None:
    progress = encode_event(0, Progress(index=0, done_tokens=32, total_tokens=60))

    trace = umad_trace(
        exchange(
            [
                (10, progress),
                (20, encode_tokens(0, 0, "a", [7])),
                (30, encode_tokens(0, 0, "b", [8, 9])),
                (31, DONE),
            ]
        )
    )

    assert counts(trace) == ([(20, 1), (30, 3)], [(10, 32), (20, 60)])
    assert trace.ended
    assert trace.sent_ns == 5


def test_half_a_character_counts_when_its_text_comes_or_the_stream_ends() -> None:
    trace = umad_trace(
        exchange(
            [
                (10, encode_tokens(0, 0, "", [7])),
                (20, encode_tokens(0, 0, "é", [8])),
                (30, encode_tokens(0, 0, "", [9])),
                (31, DONE),
            ]
        )
    )

    assert counts(trace)[0] == [(20, 2), (31, 3)]


def test_what_umad_refuses_is_an_error() -> None:
    with pytest.raises(BenchError, match="too long"):
        umad_trace(exchange([(1, encode_error(BadRequest("the prompt is too long"), 0))]))


def test_llama_servers_progress_and_text_are_read() -> None:
    trace = server_trace(
        exchange(
            [
                (10, HEAD + b'data: {"tokens_predicted":0,"prompt_progress":{"processed":48}}\n\n'),
                (20, b'data: {"content":"a","tokens_predicted":1}\n\n'),
                (30, b'data: {"content":"bc","tokens_predicted":3}\n\n'),
                (31, b'data: {"content":"","tokens_predicted":3,"stop":true}\n\n'),
            ]
        )
    )

    assert counts(trace) == ([(20, 1), (30, 3)], [(10, 48), (20, 60)])
    assert trace.ended


def test_a_request_that_was_cut_off_has_what_came_until_then() -> None:
    started = server_trace(
        exchange([(10, HEAD + b'data: {"tokens_predicted":1}\n\n')], ended=False)
    )
    silent = server_trace(exchange([], ended=False))

    assert counts(started)[0] == [(10, 1)]
    assert not started.ended
    assert silent == Trace(sent_ns=5, ended=False)
