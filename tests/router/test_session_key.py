"""By what a conversation is recognised."""

import pytest

from umad.router.policy import Asked, session_key
from umad.router.policy.session_key import opening_of

SYSTEM = {"role": "system", "content": "Be brief."}
HELLO = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Hi."}
MORE = {"role": "user", "content": "And now?"}


@pytest.mark.parametrize("before", [[], [SYSTEM]])
def test_all_turns_of_a_chat_have_one_beginning(before: list[dict[str, str]]) -> None:
    first = opening_of({"messages": [*before, HELLO]})
    later = opening_of({"messages": [*before, HELLO, ANSWER, MORE]})

    assert first == later != ""


def test_chats_with_one_instruction_and_different_questions_are_different() -> None:
    assert opening_of({"messages": [SYSTEM, HELLO]}) != opening_of({"messages": [SYSTEM, MORE]})


def test_the_texts_of_a_message_with_pictures_count() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "image_url"}, {"type": "text", "text": "lo"}]

    assert opening_of({"messages": [{"role": "user", "content": parts}]}) == "Hello"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": "x"},
        {"messages": [None]},
        {"messages": [{"content": 5}]},
        {"prompt": [1, 2]},
        {"messages": [{"role": "user", "content": [{"text": 5}, "x"]}]},
    ],
)
def test_a_body_without_text_has_no_beginning(body: dict[str, object]) -> None:
    assert opening_of(body) == ""


def test_a_session_that_is_named_goes_before_the_beginning() -> None:
    named = Asked(model="m", session="s", opening="Hello")

    assert session_key(named) == session_key(Asked(model="m", session="s", opening="other"))


def test_nobody_else_has_the_same_key() -> None:
    asked = [
        Asked(model="m", session="s"),
        Asked(model="n", session="s"),
        Asked(model="m", session="t"),
        Asked(model="m", session="s", credential="Bearer a"),
        Asked(model="ms", session=""),
        Asked(model="m", opening="s"),
        Asked(model="m", opening="session s"),
    ]

    made = {session_key(one) for one in asked}

    assert len(made) == len(asked)


def test_a_request_of_nothing_has_no_key() -> None:
    assert session_key(Asked(model="m", credential="Bearer a")) is None


def test_half_a_surrogate_pair_has_a_key() -> None:
    assert session_key(Asked(session="\ud800")) is not None
