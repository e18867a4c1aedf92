"""Images and sounds on the wire: bytes arrive as they were sent, the wrong has its place."""

from typing import Any

import msgpack
import pytest

from umad.content import MAX_FILES, MediaFile, PlacedFile, joined, pieces_of
from umad.conversation import ChatMessage, media_of
from umad.errors import BadRequest
from umad.protocol.messages import Generate, encode_request, parse_request
from umad.request import GenerateRequest

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
PICTURE = {"type": "image", "data": PNG}
SOUND = {"type": "audio", "data": b"RIFF"}
WORDS = {"type": "text", "text": "What is it?"}


def chat(content: Any) -> GenerateRequest:
    turn = {"role": "user", "content": content}
    body = {"type": "chat", "id": 1, "messages": [{"role": "system", "content": "Be brief."}, turn]}
    request = parse_request(msgpack.packb(body))
    assert isinstance(request, Generate)
    return request.request


def test_a_file_stands_between_the_words_beside_it() -> None:
    request = chat([WORDS, PICTURE, {"type": "text", "text": "And this?"}, SOUND])

    assert request.messages is not None
    turn = request.messages[1]
    assert turn.content == "What is it?And this?"
    assert [(one.at, one.file.kind, one.file.data) for one in turn.media] == [
        (11, "image", PNG),
        (20, "audio", b"RIFF"),
    ]
    assert [one.file.place for one in request.placed] == [
        "messages[1].content[1]",
        "messages[1].content[3]",
    ]


def test_a_prompt_may_have_files_too() -> None:
    body = {"type": "generate", "id": 1, "prompt": [PICTURE, WORDS]}

    request = parse_request(msgpack.packb(body))

    assert isinstance(request, Generate)
    assert request.request.prompt == "What is it?"
    assert [(one.at, one.file.place) for one in request.request.media] == [(0, "prompt[0]")]
    assert parse_request(encode_request(request)) == request


@pytest.mark.parametrize(
    ("content", "field", "says"),
    [
        (7, "messages[1].content", "a string or an array of parts"),
        (["What?"], "messages[1].content[0]", "a map"),
        ([{"type": "picture", "data": PNG}], "messages[1].content[0].type", "text, image, audio"),
        ([{"type": "image"}], "messages[1].content[0].data", "binary, not null"),
        ([{**PICTURE, "path": "/x"}], "messages[1].content[0]", "nothing else"),
        ([WORDS, {**PICTURE, "data": "/x.png"}], "messages[1].content[1].data", "opens a file"),
        ([{"type": "text", "data": b""}], "messages[1].content[0]", "type and text"),
        ([PICTURE] * (MAX_FILES + 1), "messages[1].content", "at most 128"),
    ],
)
def test_a_part_that_is_wrong_is_refused_by_its_place(content: Any, field: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        chat(content)

    assert caught.value.field == field


def test_all_turns_together_have_no_more_files_than_one_may_have() -> None:
    turns = [{"role": "user", "content": [PICTURE] * 100}] * 2
    body = {"type": "chat", "id": 1, "messages": turns}

    with pytest.raises(BadRequest, match="at most 128 images"):
        parse_request(msgpack.packb(body))


def test_the_bytes_of_a_file_stand_in_no_text_of_the_program() -> None:
    turn = ChatMessage(
        role="user", content="x", media=(PlacedFile(at=0, file=MediaFile(kind="image", data=PNG)),)
    )

    assert "PNG" not in repr(turn)
    assert media_of([turn])[0].data == PNG


def test_pieces_are_put_together_with_what_stands_between_them() -> None:
    file = MediaFile(kind="image", data=PNG)

    text, media = joined(["A", "", file, "B"], "\n")

    assert (text, [one.at for one in media]) == ("A\n\nB", [2])
    assert list(pieces_of(text, media)) == ["A\n", file, "\nB"]
