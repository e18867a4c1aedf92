"""A model without eyes: what is asked now is refused, and a history is read with words in it."""

import pytest

from umad.content import MediaFile, joined
from umad.conversation import ChatMessage, ToolCall
from umad.engine.chats.unseen import as_seen
from umad.errors import MediaUnsupported

EYE = MediaFile(kind="image", data=b"x", place="messages[0].content[1]")
EAR = MediaFile(kind="audio", data=b"y", place="messages[0].content[2]")
CALL = ChatMessage(role="assistant", content="", tool_calls=(ToolCall(name="look"),))
HI = ChatMessage(role="user", content="And now?")
NO_IMAGE = "[an image stood here; this model reads only text]"


def turn(role: str, *pieces: str | MediaFile) -> ChatMessage:
    text, media = joined(pieces)
    return ChatMessage(role=role, content=text, media=media)


def test_an_image_that_is_asked_about_now_is_refused_by_its_place() -> None:
    with pytest.raises(MediaUnsupported, match="reads only text") as caught:
        as_seen([turn("user", "What is it?", EYE)], ())

    assert caught.value.field == "messages[0].content[1]"


def test_a_system_turn_behind_the_question_changes_nothing() -> None:
    with pytest.raises(MediaUnsupported):
        as_seen([turn("user", EYE), ChatMessage(role="system", content="Be brief.")], ())


@pytest.mark.parametrize(
    "turns",
    [
        [turn("user", "See: ", EYE, "!"), ChatMessage(role="assistant", content="A cat."), HI],
        [turn("user", "See: ", EYE, "!"), HI],
        [turn("system", "See: ", EYE, "!"), HI],
    ],
)
def test_an_earlier_image_becomes_words_in_its_place(turns: list[ChatMessage]) -> None:
    seen = as_seen(turns, ())

    assert seen[0].content == f"See: {NO_IMAGE}!"
    assert not seen[0].media
    assert seen[1:] == tuple(turns[1:])


@pytest.mark.parametrize("role", ["tool", "user"])
def test_an_agent_goes_on_without_what_its_tool_brought(role: str) -> None:
    result = ChatMessage(role="tool", content="done")
    brought = [turn("tool", EYE)] if role == "tool" else [result, turn("user", EYE)]

    seen = as_seen([HI, CALL, *brought], ())

    assert seen[-1].content == NO_IMAGE


def test_a_chat_whose_answer_is_there_is_read_whatever_it_asked() -> None:
    assert as_seen([turn("user", EYE)], (), is_answered=True)[0].content == NO_IMAGE


def test_a_model_with_eyes_alone_gets_the_images_and_words_for_sounds() -> None:
    (seen, _, _) = as_seen([turn("user", "a", EYE, "b", EAR), CALL, HI], ("image",))

    assert seen.content == "ab[a sound stood here; this model hears no sound]"
    assert [(one.at, one.file) for one in seen.media] == [(1, EYE)]


def test_a_model_with_eyes_alone_says_that_it_does_not_hear() -> None:
    with pytest.raises(MediaUnsupported, match="hears no sound, and is asked about a sound"):
        as_seen([turn("user", EYE, EAR)], ("image",))
