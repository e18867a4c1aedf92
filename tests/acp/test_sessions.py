"""Conversations can always go on, and come back from their files, and from nobody else's."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from acp import helpers

from umad.acp.content import content_of
from umad.acp.sessions import MAX_FILE_BYTES, Session, SessionFiles, session_folder
from umad.content import pieces_of
from umad.conversation import ChatMessage, ToolCall
from umad.errors import BadMedia, BadRequest, UnknownRequest, Unsupported


def talked(cwd: str = "/project") -> Session:
    session = Session(cwd=cwd)
    session.say("What  is in\nf.py?")
    call = ToolCall(name="read_file", arguments='{"path": "f.py"}', id="c1")
    session.messages.append(
        ChatMessage(role="assistant", content="I look.", tool_calls=(call,), reasoning="Hm.")
    )
    session.messages.append(ChatMessage(role="tool", content="x = 1", tool_call_id="c1"))
    return session


def test_a_session_comes_back_as_it_was(tmp_path: Path) -> None:
    files, session = SessionFiles(tmp_path / "acp"), talked()
    session.set_mode("edit")

    files.write(session)

    assert files.read(session.id) == session
    assert session.title == "What is in f.py?"


def test_what_was_allowed_for_always_is_not_written_down(tmp_path: Path) -> None:
    files, session = SessionFiles(tmp_path), talked()
    session.always["run_command"] = True

    files.write(session)

    assert files.read(session.id).always == {}


def test_only_this_user_may_read_a_conversation(tmp_path: Path) -> None:
    files, session = SessionFiles(tmp_path / "acp"), talked()

    files.write(session)

    (file,) = (tmp_path / "acp").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "acp").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("id_", ["", "../x", "/etc/passwd", "a" * 31, "A" * 32, "a" * 32])
def test_an_id_that_there_is_not_is_no_path(tmp_path: Path, id_: str) -> None:
    with pytest.raises(UnknownRequest):
        SessionFiles(tmp_path).read(id_)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"turns": "x"}', '{"turns": "[[]]"}'])
def test_a_broken_file_is_no_session(tmp_path: Path, content: str) -> None:
    (tmp_path / f"{'a' * 32}.json").write_text(content)

    with pytest.raises(UnknownRequest):
        SessionFiles(tmp_path).read("a" * 32)


def test_the_oldest_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umad.acp.sessions.MAX_FILES", 2)
    files = SessionFiles(tmp_path)
    for at, session in enumerate(written := [talked(), talked(), talked()]):
        files.write(session)
        os.utime(tmp_path / f"{session.id}.json", ns=(at, at))
    files.write(talked())

    assert len(files.names()) == 2
    assert written[0].id not in files.names()


def test_a_call_without_a_result_gets_one() -> None:
    session = talked()
    session.messages.append(
        ChatMessage(role="assistant", content="", tool_calls=(ToolCall(name="now", id="c2"),))
    )

    session.close_calls("ended")
    session.close_calls("ended")

    assert [turn.content for turn in session.messages if turn.role == "tool"] == ["x = 1", "ended"]


def test_a_mode_that_there_is_not_is_refused() -> None:
    with pytest.raises(BadRequest, match="ask, edit, chat"):
        talked().set_mode("yolo")


def test_the_folder_is_the_users_own() -> None:
    assert session_folder({"HOME": "/h"}, "linux") == Path("/h/.local/state/umad/acp")
    assert session_folder({"HOME": "/h", "XDG_STATE_HOME": "/s"}, "linux") == Path("/s/umad/acp")
    assert session_folder({"HOME": "/h", "XDG_STATE_HOME": "s"}, "linux").is_relative_to("/h")


def picture(data: bytes) -> Any:
    return helpers.image_block(base64.b64encode(data).decode(), "image/png")


def test_images_and_sounds_stand_between_a_prompts_texts() -> None:
    sound = base64.b64encode(b"RIFF").decode()
    blob = helpers.embedded_blob_resource("file:///b.png", sound, mime_type="image/png")
    blocks = [
        helpers.text_block("See"),
        picture(b"png"),
        helpers.audio_block(sound, "audio/wav"),
        helpers.resource_block(blob),
        helpers.text_block("Well?"),
    ]

    text, media = content_of(blocks)

    found = [
        one if isinstance(one, str) else (one.kind, one.data) for one in pieces_of(text, media)
    ]
    assert found == [
        "See\n",
        ("image", b"png"),
        "\n",
        ("audio", b"RIFF"),
        "\n",
        ("image", b"RIFF"),
        "\nWell?",
    ]


@pytest.mark.parametrize("data", ["", "no base64"])
def test_an_image_without_bytes_is_refused_by_its_place(data: str) -> None:
    with pytest.raises(BadMedia) as refused:
        content_of([helpers.text_block("See"), helpers.image_block(data, "image/png")])

    assert refused.value.field == "prompt[1]"


def test_an_image_is_there_another_day_and_an_enormous_one_is_left_out(tmp_path: Path) -> None:
    files, session = SessionFiles(tmp_path), Session(cwd="/p")
    session.say(*content_of([picture(b"png"), helpers.text_block("What is it?")]))

    files.write(session)
    (turn,) = files.read(session.id).messages
    assert [(one.at, one.file.kind, one.file.data) for one in turn.media] == [(0, "image", b"png")]
    session.say(*content_of([picture(bytes(MAX_FILE_BYTES))]))
    files.write(session)
    (turn,) = files.read(session.id).messages
    assert [one.file.data for one in turn.media] == [b"", b""]
    assert session.title == "What is it?"


def test_a_prompt_is_the_text_of_its_parts() -> None:
    blocks = [
        helpers.text_block("Look at"),
        helpers.resource_link_block("f.py", "file:///f.py"),
        helpers.resource_block(helpers.embedded_text_resource("file:///g.py", "x = 1")),
    ]

    assert content_of(blocks) == (
        'Look at\n[f.py](file:///f.py)\n<file uri="file:///g.py">\nx = 1\n</file>',
        (),
    )
    blob = helpers.embedded_blob_resource("file:///a.zip", "aGk=", mime_type="application/zip")
    with pytest.raises(Unsupported, match=r"a\.zip is no text"):
        content_of([helpers.resource_block(blob)])
