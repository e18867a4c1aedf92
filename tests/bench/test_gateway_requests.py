"""What came back of requests to the gateway, read with its times."""

import json
from pathlib import Path

from bench.gateway_requests import HttpChat, OneWord, later_us
from tests.bench.test_exchange import exchange


def chunk(**choice: object) -> bytes:
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def test_a_token_is_held_against_its_own_steps_arrival_over_the_socket() -> None:
    steps = [1_000_000, 3_000_000, 5_000_000, 7_000_000]
    texts = [900_000, 3_150_000, 4_990_000, 7_300_000]  # the first and last are of one stream alone

    assert later_us(steps, texts) == [150.0, -10.0]


def test_streams_that_never_ran_together_say_nothing() -> None:
    assert later_us([1, 2], [5, 6]) == []


def test_a_chats_text_is_read_with_the_time_of_each_piece() -> None:
    heard = exchange(
        [
            (10, b"HTTP/1.1 200 OK\r\n\r\n" + chunk(delta={"content": ""}, finish_reason=None)),
            (20, chunk(delta={"content": "a"}, finish_reason=None)),
            (30, chunk(delta={"content": "b"}, finish_reason=None)),
            (40, chunk(delta={}, finish_reason="length") + b"data: [DONE]\n\n"),
        ]
    )
    chat = HttpChat(Path("http.sock"))

    trace = chat.trace(heard)

    assert chat.texts(heard) == [20, 30]
    assert [(one.at_ns, one.tokens) for one in trace.arrivals] == [(20, 1), (30, 2), (40, 8)]


def test_a_stream_of_a_crowd_may_say_its_own_word_only() -> None:
    stream = OneWord(Path("http.sock"), 305)
    said = [
        (10, chunk(text="x", finish_reason=None)),
        (20, chunk(text="y", finish_reason="length")),
    ]

    _, _, body = stream.request([1, 2], 8).partition(b"\r\n\r\n")

    assert json.loads(body)["logit_bias"] == {"305": 1000}
    assert stream.text(exchange(said)) == "xy"
