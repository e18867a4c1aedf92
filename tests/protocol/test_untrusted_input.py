"""Whatever arrives, the daemon answers with an error of umad's own or a request it can trust."""

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol import strategies
from umad.errors import BadRequest, ProtocolViolation, UmadError, UnsupportedVersion
from umad.protocol.bounds import MAX_DEPTH, MAX_ITEMS
from umad.protocol.messages import (
    Generate,
    Request,
    encode_request,
    parse_event,
    parse_hello,
    parse_request,
)

GENERATE = {"type": "generate", "id": 7, "prompt": "p"}


def parse(**fields: Any) -> Request:
    return parse_request(msgpack.packb(fields))


def error_in(**fields: Any) -> UmadError:
    """The error that `GENERATE` with these fields gets."""
    with pytest.raises(UmadError) as caught:
        parse(**{**GENERATE, **fields})
    return caught.value


def survives(parse_body: Callable[[bytes], Any], body: bytes) -> None:
    """Anything but an `UmadError` fails the test."""
    with suppress(UmadError):
        parse_body(body)


# -- nothing but UmadError -----------------------------------------------------------------------

_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
_anything = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_known_names = st.sampled_from(
    [
        *("type", "id", "prompt", "prompt_ids", "messages", "temperature", "logit_bias", "stop"),
        *("n", "text", "ids", "request", "own_id", "protocol", "index", "logprobs", "usage"),
    ]
)
_known_types = st.sampled_from(
    ["generate", "chat", "cancel", "detokenize", "hello", "tokens", "done", "error", "result"]
)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80))
def test_random_bytes_are_refused_in_umads_own_words(body: bytes) -> None:
    for parse_body in (parse_request, parse_hello, parse_event):
        survives(parse_body, body)


@settings(max_examples=200, deadline=None)
@given(_known_types, st.dictionaries(_known_names, _anything, max_size=8))
def test_random_maps_are_refused_in_umads_own_words(kind: str, fields: dict[str, Any]) -> None:
    body = msgpack.packb({**fields, "type": kind})

    for parse_body in (parse_request, parse_hello, parse_event):
        survives(parse_body, body)


@settings(max_examples=150, deadline=None)
@given(strategies.requests, st.data())
def test_a_damaged_request_is_refused_in_umads_own_words(
    request: Request, data: st.DataObject
) -> None:
    body = bytearray(encode_request(request))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(body)))

    survives(parse_request, bytes(body))
    with pytest.raises(UmadError):
        parse_request(encode_request(request)[: cut - 1])


# -- what ends the connection --------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x81",
        msgpack.packb(None),
        msgpack.packb(7),
        msgpack.packb([GENERATE]),
        msgpack.packb({}),
        msgpack.packb({"id": 1}),
        msgpack.packb({"type": 7, "id": 1}),
        msgpack.packb({1: 2}),
        msgpack.packb({"type": "hello", "protocol": 1}),
        msgpack.packb(GENERATE) + b"\x00",
        msgpack.packb({**GENERATE, "prompt": b"\xff\xfe"}, use_bin_type=False),
        # A timestamp extension of a length it cannot have.
        b"\x81\xa6prompt\xc7\x00\xff",
    ],
    ids=repr,
)
def test_what_is_no_message_ends_the_connection(body: bytes) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_request(body)

    assert caught.value.request_id is None


@pytest.mark.parametrize(
    "fields",
    [
        GENERATE,
        {"type": "hello"},
        {"type": "hello", "protocol": True},
        {"type": "hello", "protocol": 1, "client": 7},
        {"type": "hello", "protocol": 1, "surprise": 7},
        {"type": "hello", "protocol": 1, "capabilities": ["x"] * 65},
    ],
    ids=repr,
)
def test_a_connection_begins_with_a_hello_or_ends(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation):
        parse_hello(msgpack.packb(fields))


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (2, "version 1 .* the client 2; the daemon is older: upgrade umad"),
        (0, "version 1 .* the client 0; the client is older: upgrade the program"),
    ],
)
def test_another_version_is_told_so_whatever_else_its_hello_says(version: int, words: str) -> None:
    hello = {"type": "hello", "protocol": version, "shape": "unknown to it", "client": None}

    with pytest.raises(UnsupportedVersion, match=words):
        parse_hello(msgpack.packb(hello))


# -- what ends one request -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("temperature", "hot", "a number, not a string"),
        ("temperature", True, "a number, not a boolean"),
        ("temperature", float("nan"), "finite"),
        ("temperature", float("inf"), "finite"),
        ("temperature", -1, "between 0 and 100"),
        ("top_p", 1.5, "between 0 and 1"),
        ("top_k", 1.0, "an integer, not a number"),
        ("top_k", True, "an integer, not a boolean"),
        ("seed", -1, "between"),
        ("max_tokens", 0, "between 1"),
        ("n", 17, "between 1 and 16"),
        ("stop", ["a"] * 33, "at most 32"),
        ("stop", [""], "1 to 512"),
        ("stop", {"a": 1}, "an array of strings"),
        ("ignore_eos", 1, "a boolean, not an integer"),
        ("logprobs", 21, "between 0 and 20"),
        ("logit_bias", {"5": 1.0}, "an array"),
        ("logit_bias", [[1, 2.0]] * 4097, "at most 4096"),
        ("deadline_ms", 0, "at least 1"),
        ("lane", "", "1 to 256"),
        ("session", "s" * 257, "1 to 256"),
        ("model", 7, "a string, not an integer"),
        ("prompt", b"bytes", "a string or an array of parts, not binary"),
        ("prompt", "", "empty"),
        ("prompt_ids", [1], "exactly one"),
    ],
)
def test_a_wrong_value_is_refused_with_its_fields_name(name: str, value: Any, says: str) -> None:
    error = error_in(**{name: value})

    assert isinstance(error, BadRequest)
    assert error.field == name
    assert says in error.message
    assert error.request_id == 7


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"type": "generate", "prompt_ids": [1, "2"]}, "prompt_ids[1]"),
        ({"type": "generate", "prompt_ids": [True]}, "prompt_ids[0]"),
        ({"type": "generate", "prompt_ids": [2**31]}, "prompt_ids"),
        ({"type": "generate", "prompt_ids": [-1]}, "prompt_ids"),
        ({"type": "generate", "prompt_ids": []}, "prompt_ids"),
        ({"type": "generate", "prompt": "p", "stop": ["a", 1]}, "stop[1]"),
        ({"type": "generate", "prompt": "p", "logit_bias": [[1]]}, "logit_bias[0]"),
        ({"type": "generate", "prompt": "p", "logit_bias": [[1, float("nan")]]}, "logit_bias[0]"),
        ({"type": "generate", "prompt": "p", "logit_bias": [[1.0, 1.0]]}, "logit_bias[0][0]"),
        ({"type": "generate"}, "prompt"),
        ({"type": "chat"}, "messages"),
        ({"type": "chat", "messages": []}, "messages"),
        ({"type": "chat", "messages": "hi"}, "messages"),
        ({"type": "chat", "messages": ["hi"]}, "messages[0]"),
        ({"type": "chat", "messages": [{"role": "user"}]}, "messages[0].content"),
        ({"type": "chat", "messages": [{"role": 1, "content": ""}]}, "messages[0].role"),
        (
            {"type": "chat", "messages": [{"role": "user", "content": [1]}]},
            "messages[0].content[0]",
        ),
        ({"type": "chat", "messages": [{"role": "u", "content": "", "x": 1}]}, "messages[0]"),
        ({"type": "tokenize"}, "text"),
        ({"type": "detokenize", "ids": "12"}, "ids"),
        ({"type": "cancel"}, "request"),
        ({"type": "cancel", "request": "r", "own_id": 1}, "request"),
        ({"type": "cancel", "own_id": 1.5}, "own_id"),
        ({"type": "forget"}, "session"),
        ({"type": "forget", "all": False}, "session"),
        ({"type": "forget", "session": "s", "all": True}, "session"),
        ({"type": "forget", "session": ""}, "session"),
        ({"type": "forget", "all": 1}, "all"),
        ({"type": "priority", "target": "s"}, "lane"),
        ({"type": "load"}, "model"),
        ({"type": "load", "model": "m" * 4097}, "model"),
        ({"type": "ping", "echo": 1}, "echo"),
    ],
    ids=repr,
)
def test_the_place_of_the_fault_is_named(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(id="q", **fields)

    assert caught.value.field == place
    assert caught.value.request_id == "q"


@pytest.mark.parametrize("bad_id", [None, True, 1.5, "", "x" * 129, [1], {"a": 1}])
def test_a_request_without_a_usable_id_is_refused_for_its_id(bad_id: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(type="ping", id=bad_id)

    assert caught.value.field == "id"
    assert caught.value.request_id is None


def test_a_misspelt_field_is_answered_with_the_nearest_one() -> None:
    error = error_in(temprature=0.5)

    assert error.field == "temprature"
    assert "did you mean temperature" in error.message


def test_a_field_of_the_sister_request_is_answered_with_its_name() -> None:
    error = error_in(messages=[{"role": "user", "content": "hi"}])

    assert "belongs to chat" in error.message


def test_an_unknown_request_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(BadRequest, match="did you mean generate") as caught:
        parse(type="genrate", id=7)

    assert caught.value.request_id == 7


def test_null_is_the_same_as_leaving_a_field_out() -> None:
    request = parse(**GENERATE, temperature=None, stop=None, model=None, grammar=None)

    assert request == parse(**GENERATE)


def test_an_integer_will_do_for_a_number_and_a_string_for_one_stop() -> None:
    request = parse(**GENERATE, temperature=1, stop="\n")

    assert isinstance(request, Generate)
    assert request.request.sampling.temperature == 1.0
    assert type(request.request.sampling.temperature) is float
    assert request.request.sampling.stop == ("\n",)


def test_an_error_never_repeats_a_prompt_nor_a_name_of_any_length() -> None:
    secret = error_in(prompt=["my secret"])
    long_name = error_in(**{"x" * 100_000: 1})

    assert "secret" not in secret.message
    assert len(long_name.message) < 300


# -- what would cost too much --------------------------------------------------------------------


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 600, 5000, 1_000_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    body = (
        b"\x82" + msgpack.packb("type") + msgpack.packb("ping") + msgpack.packb("x") + nested(depth)
    )

    with pytest.raises(ProtocolViolation, match="deep"):
        parse_request(body)


def test_a_prompt_of_a_million_tokens_is_within_the_bounds() -> None:
    body = msgpack.packb({"type": "generate", "id": 1, "prompt_ids": [1] * 2**20})

    request = parse_request(body)

    assert isinstance(request, Generate)
    assert request.request.prompt_ids == (1,) * 2**20


def test_more_items_than_any_request_has_are_refused() -> None:
    body = msgpack.packb({"type": "generate", "id": 1, "prompt_ids": [1] * MAX_ITEMS})

    with pytest.raises(ProtocolViolation, match="at most"):
        parse_request(body)


@pytest.mark.parametrize(
    "body",
    [
        b"\x81\xa1x" + b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        # A thousand headers that each announce 65,535 items: half a gigabyte if believed.
        b"\x81\xa1x" + b"\xdc\xff\xff" * 1000 + b"\xc0" * 65_535,
        # Sixteen million empty maps: a gigabyte of objects from a frame at the limit.
        b"\x81\xa1x\xdd\x00\xf0\x00\x00" + b"\x80" * (15 * 2**20),
    ],
    ids=["array", "map", "headers", "maps"],
)
def test_a_small_body_cannot_cost_much_memory_or_time(body: bytes) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began_s = time.thread_time()

    with pytest.raises(ProtocolViolation):
        parse_request(body)

    assert time.thread_time() - began_s < 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1024
