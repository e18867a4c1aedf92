"""A daemon that is measured: arrivals read from what it sends, and its turns."""

import pytest

from bench.errors import BenchError
from bench.umad_daemon import DaemonSettings, UmadDaemon, arrivals_in
from umad import nano
from umad.errors import BadRequest
from umad.protocol.messages import encode_error, encode_tokens


def test_tokens_are_counted_per_stream() -> None:
    bodies = [
        (10, encode_tokens(0, 0, "a", [7])),
        (10, encode_tokens(1, 0, "b", [8])),
        (20, encode_tokens(0, 0, "", [9, 9])),
        (30, encode_tokens(1, 0, "c", [5, 5])),
    ]

    first, second = arrivals_in(bodies, streams=2, tokens=3)

    assert [(arrival.at_ns, arrival.tokens) for arrival in first] == [(10, 1), (20, 3)]
    assert [(arrival.at_ns, arrival.tokens) for arrival in second] == [(10, 1), (30, 3)]


def test_a_refused_request_is_an_error() -> None:
    body = encode_error(BadRequest("the prompt is too long"), 0)

    with pytest.raises(BenchError, match="too long"):
        arrivals_in([(1, body)], streams=1, tokens=3)


def test_a_stream_that_ends_early_is_an_error() -> None:
    with pytest.raises(BenchError, match="after 1 of 3"):
        arrivals_in([(1, encode_tokens(0, 0, "a", [7]))], streams=1, tokens=3)


def test_a_daemon_that_took_its_turn_and_was_ended_can_be_started_again() -> None:
    daemon = UmadDaemon(
        DaemonSettings(
            model=nano.path(), streams=1, stream_context_tokens=256, threads=2, log_name="again"
        )
    )
    try:
        for _ in range(2):
            daemon.start()
            daemon.stop()
    finally:
        daemon.stop()
