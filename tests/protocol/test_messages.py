"""Messages survive the way over the wire, and say what the README says."""

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol import strategies
from umad.errors import BadRequest, UnknownModel
from umad.protocol.events import Result, Welcome
from umad.protocol.messages import (
    Generate,
    Hello,
    Request,
    RequestId,
    encode_error,
    encode_event,
    encode_request,
    encode_result,
    encode_tokens,
    encode_welcome,
    parse_event,
    parse_hello,
    parse_request,
)
from umad.request import SAMPLING_FIELDS, GenerateRequest, SamplingParams
from umad.service import Event, Failed, TokenLogprob, Tokens


@settings(max_examples=200, deadline=None)
@given(strategies.requests)
def test_a_request_arrives_as_it_was_sent(request: Request) -> None:
    assert parse_request(encode_request(request)) == request


@settings(max_examples=150, deadline=None)
@given(strategies.ids, strategies.events)
def test_an_event_arrives_as_it_was_sent(request_id: RequestId, event: Event) -> None:
    assert parse_event(encode_event(request_id, event)) == (request_id, event)


@settings(max_examples=50, deadline=None)
@given(
    st.text(min_size=1, max_size=40),
    st.lists(st.text(max_size=10), max_size=3),
)
def test_a_hello_arrives_as_it_was_sent(client: str, capabilities: list[str]) -> None:
    hello = Hello(client=client, capabilities=tuple(capabilities))

    assert parse_hello(encode_request(hello)) == hello


def test_the_daemons_hello_arrives_as_it_was_sent() -> None:
    welcome = Welcome(server="umad/1", capabilities=("x",), frame_bytes=2**24)

    assert parse_event(encode_welcome(welcome)) == (None, welcome)


@pytest.mark.parametrize("value", [None, 7, "text", [1, 2], {"p95_ms": 1.5, "apps": [{"a": None}]}])
def test_a_result_arrives_as_it_was_sent(value: Any) -> None:
    assert parse_event(encode_result("q", value)) == ("q", Result(value=value))


def test_every_sampling_field_can_be_asked_for() -> None:
    asked = SamplingParams(
        temperature=0.5,
        top_k=1,
        top_p=0.5,
        min_p=0.5,
        typical_p=0.5,
        repetition_penalty=1.5,
        frequency_penalty=0.5,
        presence_penalty=0.5,
        penalty_last_n=1,
        logit_bias=((5, -1.0),),
        seed=1,
        max_tokens=1,
        stop=("x",),
        logprobs=1,
        prompt_logprobs=1,
        ignore_eos=True,
        fit=True,
    )
    defaults = SamplingParams()
    assert all(getattr(asked, name) != getattr(defaults, name) for name in SAMPLING_FIELDS)

    message = Generate(id=1, request=GenerateRequest(prompt="p", sampling=asked))

    assert parse_request(encode_request(message)) == message


def test_what_is_left_at_its_default_is_left_to_the_daemon() -> None:
    body = encode_request(Generate(id=1, request=GenerateRequest(prompt="p")))

    assert msgpack.unpackb(body) == {"type": "generate", "id": 1, "prompt": "p"}


def test_tokens_are_encoded_alike_from_the_engines_form_and_from_the_event() -> None:
    event = Tokens(
        index=1, text="ab", ids=(5,), logprobs=(TokenLogprob(id=5, logprob=-0.5, top=((5, -0.5),)),)
    )

    assert encode_tokens(3, 1, "ab", (5,), ((-0.5, ((5, -0.5),)),)) == encode_event(3, event)


def test_an_error_names_the_request_that_it_ends() -> None:
    error = UnknownModel("no such model", field="model")
    error.request_id = "q7"

    request_id, failed = parse_event(encode_error(error))

    assert request_id == "q7"
    assert failed == Failed(
        code="unknown_model", message="no such model", field="model", retryable=False
    )


def test_an_error_of_nobodys_request_concerns_the_connection() -> None:
    request_id, _ = parse_event(encode_error(UnknownModel("no such model")))

    assert request_id is None


def test_a_client_ignores_fields_of_a_later_daemon() -> None:
    body = msgpack.packb({"type": "result", "id": 1, "value": 2, "colour": "blue"})

    assert parse_event(body) == (1, Result(value=2))


@pytest.mark.parametrize(("text", "says"), [("\ud800", "surrogate"), (2**64, "64 bits")])
def test_what_no_frame_can_carry_is_refused_before_it_is_sent(text: Any, says: str) -> None:
    request = Generate(id=1, request=GenerateRequest(prompt=text))

    with pytest.raises(BadRequest, match=says):
        encode_request(request)
