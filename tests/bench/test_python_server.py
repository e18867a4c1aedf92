"""Tokens and times read from the raw stream of llama-cpp-python's server."""

import json

from bench.arrivals import Arrival
from bench.python_server import arrivals_in, completion_request


def event(text: str, finish_reason: str | None = None) -> bytes:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish_reason}
    return f"data: {json.dumps({'id': 'cmpl-1', 'choices': [choice]})}\n\n".encode()


def test_an_event_counts_from_the_read_that_completed_it() -> None:
    first, second = event(" one"), event(" two")

    arrivals = arrivals_in([(1, first[:20]), (2, first[20:] + second)], asked_tokens=9)

    assert arrivals == [Arrival(at_ns=2, tokens=1), Arrival(at_ns=2, tokens=2)]


def test_held_back_halves_of_characters_count_at_the_end() -> None:
    pieces = [(1, event(" one")), (2, event("")), (3, event("", "length")), (4, b"data: [DONE]")]

    arrivals = arrivals_in(pieces, asked_tokens=3)

    assert arrivals == [Arrival(at_ns=1, tokens=1), Arrival(at_ns=3, tokens=3)]


def test_a_stream_that_ended_early_has_the_tokens_it_sent() -> None:
    arrivals = arrivals_in([(1, event("a")), (2, event("", "stop"))], asked_tokens=9)

    assert arrivals == [Arrival(at_ns=1, tokens=1)]


def test_a_prompt_becomes_as_many_words() -> None:
    head, _, body = completion_request([5, 900, 17], 8).partition(b"\r\n\r\n")

    asked = json.loads(body)
    assert f"Content-Length: {len(body)}".encode() in head
    assert len(asked["prompt"].split()) == 3
    assert (asked["max_tokens"], asked["stream"], asked["temperature"]) == (8, True, 0)
