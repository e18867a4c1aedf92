"""An editor that says what LSP does not foresee is answered, and the server goes on."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from socket import socketpair
from typing import Any

import pytest

from tests.client.scripted_daemon import PROCESS_PATIENCE_S, Peer, daemon, run
from tests.lsp.test_server import BLIND, CODER, URI, Model
from tests.lsp.wire import (
    CANCELLED,
    INTERNAL,
    INVALID,
    NO_METHOD,
    NOT_INITIALIZED,
    PARAMS,
    PARSE,
    Message,
    Wire,
    asks,
    begins,
    changes,
    code,
    framed,
    message,
    opens,
    wire,
)
from umad.protocol.messages import Generate, Models, encode_result


def test_a_request_before_initialize_is_refused_and_a_notice_is_dropped(tmp_path: Path) -> None:
    async def main() -> None:
        async with wire(str(tmp_path / "none")) as editor:
            editor.say(opens("x = "))
            assert code(await editor.ask(asks())) == NOT_INITIALIZED
            assert code(await editor.ask(message("shutdown"))) == NOT_INITIALIZED
            assert code(await editor.ask(begins())) is None
            assert code(await editor.ask(begins())) == INVALID
            assert (await editor.ask(asks()))["result"] == {"items": []}, "it is not open"

    run(main())


@pytest.mark.parametrize("inline", [None, {}])
def test_an_editor_whose_initialize_failed_may_try_again(
    tmp_path: Path, inline: dict[str, Any] | None
) -> None:
    able = {"textDocument": {"inlineCompletion": inline}}

    async def main() -> None:
        async with wire(str(tmp_path / "none")) as editor:
            assert code(await editor.ask(begins(rootUri="file://[broken"))) == INTERNAL
            assert code(await editor.ask(asks())) == NOT_INITIALIZED
            assert code(await editor.ask(begins(workspaceFolders=[{"uri": 1}]))) is not None
            begun = await editor.ask(begins(capabilities=able))
            assert ("completionProvider" in begun["result"]["capabilities"]) == (inline is None)
            assert code(await editor.ask(begins())) == INVALID
            # The refusal of a second one takes nothing back, whatever its id.
            editor.say({**begins(), "id": 4})
            assert code(await editor.answer(4)) == INVALID
            assert code(await editor.ask(asks())) is None

    run(main())


@pytest.mark.parametrize("params", [None, {}])
def test_after_shutdown_a_request_is_refused_and_exit_ends_it(tmp_path: Path, params: Any) -> None:
    async def main() -> None:
        async with wire(str(tmp_path / "none"), begun=begins()) as editor:
            editor.begin(message("shutdown", params))
            assert (await editor.answer(2))["result"] is None
            assert code(await editor.ask(asks())) == INVALID
            editor.say(message("exit"))

    run(main())


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b"{", PARSE),
        (b"\xff\xfe", PARSE),
        (b"[" * 100_000, PARSE),
        (b"[]", INVALID),
        (b'[{"jsonrpc": "2.0", "id": 7, "method": "shutdown"}]', INVALID),
        (b"null", INVALID),
        (b'{"jsonrpc": "1.0", "id": 7, "method": "shutdown"}', INVALID),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "shutdown"}', INVALID),
        (b'{"jsonrpc": "2.0", "method": 1}', INVALID),
    ],
)
def test_what_is_no_message_is_refused(tmp_path: Path, body: bytes, refused: int) -> None:
    async def main() -> None:
        async with wire(str(tmp_path / "none"), begun=begins()) as editor:
            editor.write(framed(body))
            assert code(await editor.answer(None)) == refused
            assert code(await editor.ask(asks())) is None
            assert not editor.told

    run(main())


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (asks(line=-1), PARAMS),
        (asks(character=2**40), PARAMS),
        ({**asks(), "params": {"textDocument": {"uri": URI}}}, PARAMS),
        ({"method": "textDocument/inlineCompletion"}, PARAMS),
        ({"method": "umad/unknown"}, NO_METHOD),
        (message("textDocument/hover", {}), NO_METHOD),
        (opens("x"), NO_METHOD),
    ],
)
def test_a_wrong_request_is_refused_by_its_id(tmp_path: Path, said: Message, refused: int) -> None:
    async def main() -> None:
        async with wire(str(tmp_path / "none"), begun=begins()) as editor:
            assert code(await editor.ask(said)) == refused
            assert code(await editor.ask(asks())) is None
            assert not editor.told

    run(main())


@pytest.mark.parametrize(
    "said",
    [
        changes(line=-1),
        message("textDocument/didOpen"),
        message("textDocument/didChange", {"textDocument": 1}),
        {"method": "$/cancelRequest"},
        message("$/cancelRequest", {"id": 99}),
        message("umad/unknown"),
        {"jsonrpc": "2.0", "id": 99, "result": None},
        {"jsonrpc": "2.0", "id": 99, "error": {"code": 1, "message": "no"}},
    ],
)
def test_a_wrong_notice_opens_no_message_in_the_editor(tmp_path: Path, said: Message) -> None:
    async def main() -> None:
        async with wire(str(tmp_path / "none"), begun=begins()) as editor:
            editor.say(said)
            assert code(await editor.ask(asks())) is None
            assert not editor.told

    run(main())


@pytest.mark.parametrize(
    "header",
    [
        b"content-length: %d\r\n\r\n",
        b"Content-Length:%d\r\n\r\n",
        b"Content-Length: %d\n\n",
        b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: %d\r\n\r\n",
        b"\r\n\r\nContent-Length: %d\r\n\r\n",
    ],
)
def test_headers_are_read_as_those_of_http(tmp_path: Path, header: bytes) -> None:
    async def main() -> None:
        async with wire(str(tmp_path / "none"), begun=begins()) as editor:
            body = json.dumps({**asks(), "id": 9}).encode()
            editor.write(header % len(body) + body)
            assert code(await editor.answer(9)) is None

    run(main())


@pytest.mark.parametrize("length", [b"many", b"-5", b"99999999999999", b"1" * 5000])
def test_a_length_that_is_none_costs_its_message_and_no_other(
    tmp_path: Path, length: bytes
) -> None:
    async def main() -> None:
        async with wire(str(tmp_path / "none"), begun=begins()) as editor:
            editor.write(b"Content-Length: " + length + b"\r\n\r\n" + b'{"id": 1}' * 20_000)
            assert code(await editor.answer(None)) == PARSE
            editor.write(b"\r\n")
            assert code(await editor.ask(asks())) is None

    run(main())


def test_a_request_that_the_editor_cancels_is_cancelled_at_the_daemon(tmp_path: Path) -> None:
    async def main() -> None:
        model, path = Model(CODER, answer=None), str(tmp_path / "s")
        async with daemon(path, model.script), wire(path, begun=begins()) as editor:
            editor.say(opens("x = "))
            asked = editor.begin(asks())
            await model.has_asked.wait()
            editor.say(message("$/cancelRequest", {"id": asked}))

            assert code(await editor.answer(asked)) == CANCELLED
            await model.has_hung_up.wait()

    run(main())


@pytest.mark.parametrize(
    "said",
    [
        changes(),
        message("textDocument/didClose", {"textDocument": {"uri": URI}}),
        opens("y = "),
    ],
    ids=["changed", "closed", "opened anew"],
)
def test_what_was_asked_of_an_earlier_text_is_ended(tmp_path: Path, said: Message) -> None:
    async def main() -> None:
        model, path = Model(CODER, answer=None), str(tmp_path / "s")
        async with daemon(path, model.script), wire(path, begun=begins()) as editor:
            editor.say(opens("x = "))
            asked = editor.begin(asks())
            await model.has_asked.wait()
            editor.say(said)

            assert (await editor.answer(asked))["result"] == {"items": []}
            await model.has_hung_up.wait()

    run(main())


def test_while_the_editor_shows_a_word_of_its_list_nothing_is_asked(tmp_path: Path) -> None:
    async def main() -> None:
        async with wire(str(tmp_path / "none"), begun=begins()) as editor:
            editor.say(opens("x = "))
            said = asks()
            at = {"line": 0, "character": 4}
            shown = {"range": {"start": at, "end": at}, "text": "value"}
            said["params"]["context"]["selectedCompletionInfo"] = shown
            assert (await editor.ask(said))["result"] == {"items": []}
            assert not editor.told, "a daemon that was asked would be missed in the log"

    run(main())


def test_an_editor_that_goes_away_cancels_what_it_asked(tmp_path: Path) -> None:
    async def main() -> None:
        model, path = Model(CODER, answer=None), str(tmp_path / "s")
        async with daemon(path, model.script):
            async with wire(path, begun=begins()) as editor:
                editor.say(opens("x = "))
                editor.begin(asks())
                await model.has_asked.wait()
            await model.has_hung_up.wait()

    run(main())


def test_a_daemon_that_dies_over_a_completion_is_found_again(tmp_path: Path) -> None:
    async def dies(peer: Peer) -> None:
        while not isinstance(request := await peer.hear(), Generate):
            value = [CODER] if isinstance(request, Models) else [1]
            peer.say(encode_result(request.id, value))

    async def main() -> None:
        path = str(tmp_path / "s")
        async with wire(path, begun=begins()) as editor:
            editor.say(opens("x = "))
            async with daemon(path, dies):
                assert (await editor.ask(asks()))["result"] == {"items": []}
            async with daemon(path, Model(CODER).script):
                (item,) = (await editor.ask(asks()))["result"]["items"]
        assert item["insertText"] == "value"
        assert [one["params"]["message"].split(": ")[1] for one in editor.told] == [
            "connection_lost"
        ]

    run(main())


@pytest.mark.parametrize(
    ("uri", "name", "project"),
    [
        ("file:///a/src/f.py", "src/f.py", "first"),
        ("file:///b/g.py", "g.py", "second"),
        ("file:///a/inner/h.py", "h.py", "third"),
        ("file:///elsewhere/f.py", "f.py", "project"),
        ("untitled:Untitled-1", "Untitled-1", "project"),
        ("file://[broken/f.py", "this file", "project"),
    ],
)
def test_a_file_has_the_name_of_its_own_project(
    tmp_path: Path, uri: str, name: str, project: str
) -> None:
    async def main() -> None:
        model, path = Model(CODER), str(tmp_path / "s")
        folders = [
            {"uri": "file:///a", "name": "first"},
            {"uri": "file:///b", "name": "second"},
            {"uri": "file:///a/inner", "name": "third"},
        ]
        begun = begins(workspaceFolders=folders)
        async with daemon(path, model.script), wire(path, begun=begun) as editor:
            editor.say(opens("x = ", uri))
            answer = await editor.ask(asks(uri=uri))
            assert [item["insertText"] for item in answer["result"]["items"]] == ["value"]
        prompt = "".join(map(chr, model.asked[0].request.prompt_ids or ()))
        names = f"{chr(1004)}{project}\n{chr(1005)}{name}\n" if name != "this file" else ""
        assert prompt == f"{names}{chr(1001)}x = {chr(1002)}{chr(1003)}"

    run(main())


@pytest.mark.parametrize(("encoding", "units"), [("utf-8", 6), ("utf-16", 4), ("utf-32", 3)])
def test_columns_count_in_the_units_that_were_agreed_on(
    tmp_path: Path, encoding: str, units: int
) -> None:
    async def main() -> None:
        model, path = Model(CODER), str(tmp_path / "s")
        able = {"general": {"positionEncodings": ["x", encoding]}}
        async with daemon(path, model.script), wire(path) as editor:
            # Nobody waits for the answer, and `initialized` does not come.
            begun = editor.begin(begins(capabilities=able))
            editor.say(opens("'\U0001f600' + 1\r\ny"))
            asked = editor.begin(asks(character=units))

            capabilities = (await editor.answer(begun))["result"]["capabilities"]
            assert capabilities["positionEncoding"] == encoding
            await editor.answer(asked)
        prompt = "".join(map(chr, model.asked[0].request.prompt_ids or ()))
        assert f"{chr(1001)}'\U0001f600'{chr(1002)} + 1\ny{chr(1003)}" in prompt

    run(main())


def test_what_is_remembered_is_no_news_for_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        model, path = Model(BLIND), str(tmp_path / "s")
        async with daemon(path, model.script), wire(path, begun=begins()) as editor:
            for text in ("x = ", "x = ", "y = "):
                editor.say(opens(text))
                await editor.ask(asks())
        assert len(model.asked) == 2
        assert [one["method"] for one in editor.told] == ["window/logMessage"]

    run(main())


def test_a_script_in_a_file_is_served_as_an_editor_is(tmp_path: Path) -> None:
    script, said = tmp_path / "script", tmp_path / "said"
    messages = [{**begins(), "id": 1}, {**message("shutdown"), "id": 2}, message("exit")]
    script.write_bytes(b"".join(framed(json.dumps(one).encode()) for one in messages))

    async def main() -> int:
        with script.open("rb") as source, said.open("wb") as target:
            server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "umad", "lsp", "--socket", str(tmp_path / "none")),
                stdin=source,
                stdout=target,
            )
            return await server.wait()

    assert run(main(), within_s=PROCESS_PATIENCE_S) == 0
    assert said.read_bytes().count(b'"jsonrpc"') == 2


def test_ctrl_c_ends_a_server_whose_editor_says_nothing_and_has_one_socket_for_both_ways(
    tmp_path: Path,
) -> None:
    async def main() -> int:
        ours, theirs = socketpair()
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "umad", "lsp", "--socket", str(tmp_path / "none")),
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
        )
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        editor = Wire(reader, writer)
        await editor.ask(begins())
        await editor.ask(asks())
        os.kill(server.pid, signal.SIGINT)
        ended = await server.wait()
        writer.close()
        return ended

    assert run(main(), within_s=PROCESS_PATIENCE_S) == 130
