"""umad's agent as an editor has it, before a daemon that speaks by script."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from acp import RequestError, helpers, schema

from tests.acp.editor import ALL, Editor, agent, agent_process
from tests.client.scripted_daemon import PROCESS_PATIENCE_S, Peer, daemon, done, of_version, run
from umad.errors import BadRequest, UmadError
from umad.protocol.messages import (
    Cancel,
    Generate,
    Models,
    encode_error,
    encode_event,
    encode_result,
)
from umad.request import FinishReason

FACTS = {
    "name": "nano",
    "chat_family": "hermes",
    "thinking": ["<think>", "</think>"],
    "takes_tools": True,
}
HELLO: list[Any] = [helpers.text_block("hello")]


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


class Daemon:
    """Answers each chat with the next of `replies`: a text, an error, or nothing until it is
    cancelled.
    """

    def __init__(self, *replies: str | UmadError | None) -> None:
        self.replies = list(replies)
        self.reason: FinishReason = "stop"
        self.asked: list[Generate] = []
        self.is_asked, self.is_cancelled = asyncio.Event(), asyncio.Event()

    async def script(self, peer: Peer) -> None:
        while True:
            request = await peer.hear()
            match request:
                case Models():
                    peer.say(encode_result(request.id, [FACTS]))
                case Generate():
                    self.asked.append(request)
                    reply = self.replies.pop(0)
                    if isinstance(reply, UmadError):
                        peer.say(encode_error(reply, request.id))
                        continue
                    peer.say_accepted(request.id)
                    if reply is not None:
                        peer.say_text(request.id, reply)
                        ended = replace(done(), finish_reason=self.reason)
                        peer.say(encode_event(request.id, ended))
                    self.is_asked.set()
                case Cancel():
                    self.is_cancelled.set()
                    peer.say(encode_result(request.id, None))
                case _:
                    pass

    def results(self) -> list[str]:
        """The results of tools that the model has read."""
        messages = self.asked[-1].request.messages or ()
        return [turn.content for turn in messages if turn.role == "tool"]


def prompted(
    tmp_path: Path,
    *replies: str,
    answers: tuple[str | None, ...] = (),
    files: dict[str, str] | None = None,
    mode: str | None = None,
    capabilities: schema.ClientCapabilities = ALL,
) -> tuple[schema.PromptResponse, Editor, Daemon]:
    """One prompt in a new session, to its end."""

    async def main() -> tuple[schema.PromptResponse, Editor, Daemon]:
        editor, model = Editor(), Daemon(*replies)
        editor.answers, editor.files = list(answers), dict(files or {})
        path = str(tmp_path / "s")
        async with (
            daemon(path, model.script),
            agent(editor, path, tmp_path, capabilities) as connection,
        ):
            session = await connection.new_session(cwd="/project", mcp_servers=[])
            if mode is not None:
                await connection.set_session_mode(session_id=session.session_id, mode_id=mode)
            ended = await connection.prompt(session_id=session.session_id, prompt=HELLO)
            return ended, editor, model

    return run(main())


def test_an_answer_streams_with_its_thoughts_apart(tmp_path: Path) -> None:
    ended, editor, model = prompted(tmp_path, "<think>\nHm.\n</think>\n\nHello!")

    assert ended.stop_reason == "end_turn"
    assert editor.said() == "Hello!"
    assert editor.said("agent_thought_chunk") == "Hm."
    (asked,) = model.asked
    assert asked.request.session is not None
    assert asked.request.app == "some-editor"
    assert [tool.name for tool in asked.request.chat.tools] == [
        "read_file",
        "write_file",
        "run_command",
    ]


def test_a_file_is_read_once_the_user_allows_it(tmp_path: Path) -> None:
    _, editor, model = prompted(
        tmp_path,
        call("read_file", path="f.py"),
        "It has x.",
        answers=("allow",),
        files={"/project/f.py": "x = 1"},
    )

    assert [asked.title for asked in editor.asked] == ["Read /project/f.py"]
    assert model.results() == ["x = 1"]
    assert editor.statuses() == ["pending", "in_progress", "completed"]


def test_what_the_user_refuses_does_not_happen_and_the_model_hears_it(tmp_path: Path) -> None:
    ended, editor, model = prompted(
        tmp_path,
        call("write_file", path="f.py", content="x = 2"),
        "I will not.",
        answers=("reject",),
        files={"/project/f.py": "x = 1"},
    )

    assert ended.stop_reason == "end_turn"
    assert editor.files == {"/project/f.py": "x = 1"}
    assert "did not allow" in model.results()[0]
    assert editor.statuses()[-1] == "failed"


def test_the_user_sees_the_difference_before_a_file_is_written(tmp_path: Path) -> None:
    _, editor, _ = prompted(
        tmp_path,
        call("write_file", path="/project/f.py", content="x = 2"),
        "Done.",
        answers=("allow",),
        files={"/project/f.py": "x = 1"},
    )

    ((diff,),) = [asked.content for asked in editor.asked]
    assert (diff.path, diff.old_text, diff.new_text) == ("/project/f.py", "x = 1", "x = 2")
    assert editor.files == {"/project/f.py": "x = 2"}


def test_a_command_runs_in_a_terminal_of_the_editor(tmp_path: Path) -> None:
    _, editor, model = prompted(
        tmp_path, call("run_command", command="make test"), "Good.", answers=("allow",)
    )

    assert editor.commands == [["/bin/sh", "-c", "make test"]]
    assert editor.released == ["t1"]
    assert model.results() == ["done\n\n(exit code 0)"]


def test_the_model_is_told_that_an_output_lacks_its_beginning(tmp_path: Path) -> None:
    async def main() -> None:
        editor, path = Editor(), str(tmp_path / "s")
        editor.answers, editor.printed, editor.is_cut = ["allow"], "the end\n", True
        model = Daemon(call("run_command", command="make"), "Good.")
        async with daemon(path, model.script), agent(editor, path, tmp_path) as connection:
            session = (await connection.new_session(cwd="/project", mcp_servers=[])).session_id
            await connection.prompt(session_id=session, prompt=HELLO)

        assert model.results() == ["[the beginning is left out here]\nthe end\n\n(exit code 0)"]

    run(main())


def test_always_asks_once(tmp_path: Path) -> None:
    run_twice = call("run_command", command="ls") + call("run_command", command="pwd")

    _, editor, _ = prompted(tmp_path, run_twice, "Good.", answers=("always",))

    assert len(editor.asked) == 1
    assert len(editor.commands) == 2


def test_never_asks_once_and_runs_nothing(tmp_path: Path) -> None:
    run_twice = call("run_command", command="ls") + call("run_command", command="pwd")

    _, editor, _ = prompted(tmp_path, run_twice, "Good.", answers=("never",))

    assert len(editor.asked) == 1
    assert not editor.commands


def test_in_edit_mode_files_of_the_project_are_free_and_all_else_is_asked(tmp_path: Path) -> None:
    inside = call("write_file", path="a/../g.py", content="y")
    outside = call("write_file", path="/project/../etc/g", content="z")
    run_it = call("run_command", command="ls")

    _, editor, _ = prompted(
        tmp_path, inside + outside + run_it, "Good.", answers=("reject", "reject"), mode="edit"
    )

    assert editor.files == {"/project/g.py": "y"}
    assert [asked.title for asked in editor.asked] == ["Write /etc/g", "`ls`"]


def test_in_chat_mode_there_are_no_tools(tmp_path: Path) -> None:
    _, _, model = prompted(tmp_path, "Hello!", mode="chat")

    assert not model.asked[0].request.chat.tools


def test_an_editor_that_reads_no_files_is_not_asked_to_read_one_before_it_is_written(
    tmp_path: Path,
) -> None:
    able = schema.ClientCapabilities(fs=schema.FileSystemCapabilities(write_text_file=True))

    _, editor, _ = prompted(
        tmp_path,
        call("write_file", path="f.py", content="x = 2"),
        "Done.",
        answers=("allow",),
        files={"/project/f.py": "x = 1"},
        capabilities=able,
    )

    assert not editor.reads
    assert editor.files == {"/project/f.py": "x = 2"}


def test_the_difference_is_shown_also_where_nobody_is_asked(tmp_path: Path) -> None:
    _, editor, _ = prompted(
        tmp_path,
        call("write_file", path="f.py", content="x = 2"),
        "Done.",
        files={"/project/f.py": "x = 1"},
        mode="edit",
    )

    shown = [one.content for one in editor.updates if getattr(one, "status", "") == "in_progress"]
    assert [(diff.old_text, diff.new_text) for (diff,) in shown] == [("x = 1", "x = 2")]


@pytest.mark.parametrize("command", ["ls\nrm -rf /", "echo `ls`"])
def test_a_command_that_a_title_cannot_show_is_shown_whole(tmp_path: Path, command: str) -> None:
    _, editor, _ = prompted(
        tmp_path, call("run_command", command=command), "No.", answers=("reject",)
    )

    ((shown,),) = [asked.content for asked in editor.asked]
    assert shown.content.text == command


def test_an_argument_that_may_be_left_out_may_be_null(tmp_path: Path) -> None:
    _, _, model = prompted(
        tmp_path,
        call("read_file", path="f.py", line=None, limit=None),
        "It has x.",
        answers=("allow",),
        files={"/project/f.py": "x = 1"},
    )

    assert model.results() == ["x = 1"]


def test_an_editor_is_asked_for_nothing_that_it_cannot_do(tmp_path: Path) -> None:
    able = schema.ClientCapabilities(fs=schema.FileSystemCapabilities(read_text_file=True))

    _, _, model = prompted(tmp_path, "Hello!", capabilities=able)

    assert [tool.name for tool in model.asked[0].request.chat.tools] == ["read_file"]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (call("read_file"), "path is missing"),
        (call("read_file", path=1), "path is missing"),
        (call("read_file", path="f", line=0), "line must be a whole number"),
    ],
)
def test_a_wrong_call_is_told_to_the_model_in_words(tmp_path: Path, made: str, words: str) -> None:
    ended, editor, model = prompted(tmp_path, made, "Oh.")

    assert ended.stop_reason == "end_turn"
    assert words in model.results()[0]
    assert not editor.asked


def test_a_file_that_is_not_there_is_told_to_the_model(tmp_path: Path) -> None:
    _, _, model = prompted(tmp_path, call("read_file", path="g"), "Oh.", answers=("allow",))

    assert model.results()[0].startswith("It failed")


def test_a_user_who_cancels_instead_of_answering_ends_the_turn(tmp_path: Path) -> None:
    ended, _, model = prompted(tmp_path, call("run_command", command="ls"), answers=(None,))

    assert ended.stop_reason == "cancelled"
    assert len(model.asked) == 1


def test_cancelling_cancels_at_the_daemon_and_the_session_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        editor, model, path = Editor(), Daemon(None, "Again."), str(tmp_path / "s")
        async with daemon(path, model.script), agent(editor, path, tmp_path) as connection:
            session = (await connection.new_session(cwd="/project", mcp_servers=[])).session_id
            asking = asyncio.ensure_future(connection.prompt(session_id=session, prompt=HELLO))
            await model.is_asked.wait()
            await connection.cancel(session_id=session)

            assert (await asking).stop_reason == "cancelled"
            await model.is_cancelled.wait()
            ended = await connection.prompt(session_id=session, prompt=HELLO)
            assert ended.stop_reason == "end_turn"

    run(main())


def test_cancelling_while_the_user_is_asked_ends_the_turn(tmp_path: Path) -> None:
    async def main() -> None:
        editor, path = Editor(), str(tmp_path / "s")
        model = Daemon(call("run_command", command="ls"), "Again.")
        async with daemon(path, model.script), agent(editor, path, tmp_path) as connection:
            session = (await connection.new_session(cwd="/project", mcp_servers=[])).session_id
            asking = asyncio.ensure_future(connection.prompt(session_id=session, prompt=HELLO))
            await editor.is_asked.wait()
            await connection.cancel(session_id=session)

            assert (await asking).stop_reason == "cancelled"
            await connection.prompt(session_id=session, prompt=HELLO)
            assert "ended the turn" in model.results()[0]
            assert not editor.commands

    run(main())


def test_a_second_prompt_of_a_session_is_refused_while_one_runs(tmp_path: Path) -> None:
    async def main() -> None:
        editor, model, path = Editor(), Daemon(None), str(tmp_path / "s")
        async with daemon(path, model.script), agent(editor, path, tmp_path) as connection:
            session = (await connection.new_session(cwd="/project", mcp_servers=[])).session_id
            asking = asyncio.ensure_future(connection.prompt(session_id=session, prompt=HELLO))
            await model.is_asked.wait()

            with pytest.raises(RequestError, match="still runs"):
                await connection.prompt(session_id=session, prompt=HELLO)
            await connection.cancel(session_id=session)
            await asking

    run(main())


def test_a_command_that_began_while_the_turn_was_cancelled_is_ended(tmp_path: Path) -> None:
    async def main() -> None:
        editor, path = Editor(), str(tmp_path / "s")
        editor.answers, editor.may_make = ["allow"], asyncio.Event()
        model = Daemon(call("run_command", command="sleep 9"))
        async with daemon(path, model.script), agent(editor, path, tmp_path) as connection:
            session = (await connection.new_session(cwd="/project", mcp_servers=[])).session_id
            asking = asyncio.ensure_future(connection.prompt(session_id=session, prompt=HELLO))
            await editor.is_making.wait()
            await connection.cancel(session_id=session)
            assert (await asking).stop_reason == "cancelled"
            editor.may_make.set()

            await editor.is_released.wait()

    run(main())


def test_an_editor_that_has_lost_the_terminal_does_not_undo_the_cancellation(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        editor, path = Editor(), str(tmp_path / "s")
        editor.answers, editor.runs_on, editor.has_lost_terminals = ["allow"], True, True
        model = Daemon(call("run_command", command="sleep 9"), "More.")
        async with daemon(path, model.script), agent(editor, path, tmp_path) as connection:
            session = (await connection.new_session(cwd="/project", mcp_servers=[])).session_id
            asking = asyncio.ensure_future(connection.prompt(session_id=session, prompt=HELLO))
            await editor.is_making.wait()
            await connection.cancel(session_id=session)

            assert (await asking).stop_reason == "cancelled"
            assert len(model.asked) == 1

    run(main())


def roles(model: Daemon) -> list[tuple[str, str]]:
    messages = model.asked[-1].request.messages or ()
    return [(turn.role, turn.content) for turn in messages if turn.role != "system"]


def test_a_prompt_that_was_cancelled_before_its_answer_is_one_turn_with_the_next(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        editor, model, path = Editor(), Daemon(None, "Hi."), str(tmp_path / "s")
        async with daemon(path, model.script), agent(editor, path, tmp_path) as connection:
            session = (await connection.new_session(cwd="/project", mcp_servers=[])).session_id
            asking = asyncio.ensure_future(connection.prompt(session_id=session, prompt=HELLO))
            await model.is_asked.wait()
            await connection.cancel(session_id=session)
            await asking
            await connection.prompt(session_id=session, prompt=[helpers.text_block("again")])

        assert roles(model) == [("user", "hello\n\nagain")]

    run(main())


def test_a_prompt_that_failed_does_not_stand_before_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        editor, path = Editor(), str(tmp_path / "s")
        too_long = BadRequest("too long", field="messages")
        model = Daemon("Hello!", too_long, call("read_file", path="f"), too_long, "Hi.")
        editor.answers, editor.files = ["allow"], {"/project/f": "x" * 9}
        async with agent(editor, path, tmp_path) as connection:
            session = (await connection.new_session(cwd="/project", mcp_servers=[])).session_id
            with pytest.raises(RequestError, match="umad serve"):
                await connection.prompt(session_id=session, prompt=HELLO)
            assert not (await connection.list_sessions()).sessions
            async with daemon(path, model.script):
                await connection.prompt(session_id=session, prompt=HELLO)
                for text in ("long", "read what is long"):
                    with pytest.raises(RequestError, match="too long"):
                        await connection.prompt(
                            session_id=session, prompt=[helpers.text_block(text)]
                        )
                await connection.prompt(session_id=session, prompt=[helpers.text_block("again")])

        assert roles(model) == [("user", "hello"), ("assistant", "Hello!"), ("user", "again")]

    run(main())


def test_an_answer_that_somebody_else_ended_is_cancelled(tmp_path: Path) -> None:
    async def main() -> None:
        model, path = Daemon("Hel"), str(tmp_path / "s")
        model.reason = "cancelled"
        async with daemon(path, model.script), agent(Editor(), path, tmp_path) as connection:
            session = (await connection.new_session(cwd="/project", mcp_servers=[])).session_id
            ended = await connection.prompt(session_id=session, prompt=HELLO)

        assert ended.stop_reason == "cancelled"

    run(main())


def test_an_earlier_session_is_loaded_by_another_agent(tmp_path: Path) -> None:
    async def main() -> None:
        path, model = str(tmp_path / "s"), Daemon("Hello!", "Again.")
        async with daemon(path, model.script):
            async with agent(Editor(), path, tmp_path) as first:
                made = await first.new_session(cwd="/project", mcp_servers=[])
                await first.prompt(session_id=made.session_id, prompt=HELLO)
                await first.set_session_mode(session_id=made.session_id, mode_id="edit")
            editor = Editor()
            async with agent(editor, path, tmp_path) as second:
                listed = await second.list_sessions()
                loaded = await second.load_session(
                    cwd="/project", session_id=made.session_id, mcp_servers=[]
                )
                assert loaded.modes is not None
                assert loaded.modes.current_mode_id == "edit"
                assert editor.said("user_message_chunk") == "hello"
                assert editor.said() == "Hello!"
                await second.prompt(session_id=made.session_id, prompt=HELLO)

        assert [one.session_id for one in listed.sessions] == [made.session_id]
        assert listed.sessions[0].title == "hello"
        messages = model.asked[-1].request.messages or ()
        assert [turn.role for turn in messages] == ["system", "user", "assistant", "user"]

    run(main())


def test_the_command_is_an_agent_over_stdin_and_stdout(tmp_path: Path) -> None:
    async def main() -> None:
        editor, path = Editor(), str(tmp_path / "s")
        editor.answers = ["allow"]
        model = Daemon(call("run_command", command="ls"), "Good.")
        async with daemon(path, model.script), agent_process(editor, path, tmp_path) as connection:
            made = await connection.new_session(cwd="/project", mcp_servers=[])
            ended = await connection.prompt(session_id=made.session_id, prompt=HELLO)

        assert ended.stop_reason == "end_turn"
        assert editor.said() == "Good."
        assert (tmp_path / "umad" / "acp" / f"{made.session_id}.json").exists()

    run(main(), within_s=PROCESS_PATIENCE_S)


def test_without_a_daemon_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent(Editor(), str(tmp_path / "none"), tmp_path) as connection:
            made = await connection.new_session(cwd="/project", mcp_servers=[])
            with pytest.raises(RequestError, match="umad serve"):
                await connection.prompt(session_id=made.session_id, prompt=HELLO)

    run(main())


@pytest.mark.parametrize(
    ("version", "older"),
    [(2, "upgrade the program that asks"), (0, "the daemon is older: upgrade umad")],
)
def test_a_daemon_of_another_version_says_which_side_to_upgrade(
    tmp_path: Path, version: int, older: str
) -> None:
    async def main() -> None:
        path = str(tmp_path / "s")
        async with (
            daemon(path, of_version(version), greet=False),
            agent(Editor(), path, tmp_path) as connection,
        ):
            made = await connection.new_session(cwd="/project", mcp_servers=[])
            with pytest.raises(RequestError, match=older):
                await connection.prompt(session_id=made.session_id, prompt=HELLO)

    run(main())


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("cwd", "absolute"),
        ("session", "not found"),
        ("load", "not found"),
        ("mode", "ask, edit, chat"),
        ("picture", "image"),
        ("nothing", "no text"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, what: str, words: str) -> None:
    async def main() -> None:
        async with agent(Editor(), str(tmp_path / "none"), tmp_path) as connection:
            made = (await connection.new_session(cwd="/project", mcp_servers=[])).session_id
            picture = helpers.image_block("", "image/png")
            wrong: dict[str, Callable[[], Awaitable[Any]]] = {
                "cwd": lambda: connection.new_session(cwd="project", mcp_servers=[]),
                "session": lambda: connection.prompt(session_id="absent", prompt=HELLO),
                "load": lambda: connection.load_session(
                    cwd="/p", session_id="../../etc/passwd", mcp_servers=[]
                ),
                "mode": lambda: connection.set_session_mode(session_id=made, mode_id="yolo"),
                "picture": lambda: connection.prompt(session_id=made, prompt=[picture]),
                "nothing": lambda: connection.prompt(session_id=made, prompt=[]),
            }

            with pytest.raises(RequestError, match=words) as refused:
                await wrong[what]()
            assert refused.value.code in (-32602, -32002)

    run(main())


@pytest.mark.parametrize(
    ("facts", "image", "audio"),
    [
        ({"architecture": "gemma3", "media": ["image"]}, True, False),
        ({"architecture": "llama", "media": []}, False, False),
        ({"architecture": "qwen2", "media": ["image", "audio"]}, True, True),
        # It is not loaded yet, and has told nothing.
        ({}, True, True),
    ],
)
def test_an_editor_is_told_what_the_model_sees_and_hears(
    tmp_path: Path, facts: dict[str, Any], image: bool, audio: bool
) -> None:
    async def main() -> None:
        path = str(tmp_path / "s")

        async def script(peer: Peer) -> None:
            while True:
                request = await peer.hear()
                if isinstance(request, Models):
                    peer.say(encode_result(request.id, [{**FACTS, **facts}]))

        async with daemon(path, script), agent(Editor(), path, tmp_path) as connection:
            told = await connection.initialize(protocol_version=1, client_capabilities=ALL)

            assert told.agent_capabilities is not None
            can = told.agent_capabilities.prompt_capabilities
            assert can is not None
            assert (can.image, can.audio) == (image, audio)

    run(main())


def test_an_image_reaches_the_model_in_its_place(tmp_path: Path) -> None:
    async def main() -> None:
        editor, model = Editor(), Daemon("A cat.", "Yes.")
        path = str(tmp_path / "s")
        picture = helpers.image_block("aGk=", "image/png")
        async with daemon(path, model.script), agent(editor, path, tmp_path) as connection:
            made = (await connection.new_session(cwd="/project", mcp_servers=[])).session_id
            await connection.prompt(session_id=made, prompt=[*HELLO, picture])
            await connection.prompt(session_id=made, prompt=HELLO)

        for request in model.asked:
            turns = [turn for turn in request.request.messages or () if turn.role == "user"]
            (one,) = turns[0].media
            assert (turns[0].content[: one.at], one.file.kind, one.file.data) == (
                "hello\n",
                "image",
                b"hi",
            )

    run(main())
