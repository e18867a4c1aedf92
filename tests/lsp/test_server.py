"""The language server as an editor has it, before a daemon that speaks by script."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socketpair
from typing import Any, cast

import pytest
from lsprotocol import types
from pygls.io_ import run_async
from pygls.lsp.client import LanguageClient

from tests.client.scripted_daemon import PROCESS_PATIENCE_S, Peer, daemon, of_version, run
from umad.lsp.server import UmadLanguageServer
from umad.lsp.settings import LspSettings
from umad.protocol.messages import Generate, Models, Tokenize, encode_result

URI = "file:///project/src/f.py"
CODER = {
    "name": "coder",
    "ctx": 4096,
    "generates": True,
    "fim_tokens": {"prefix": 1001, "suffix": 1002, "middle": 1003, "repo": 1004, "separator": 1005},
}
BLIND = {"name": "blind", "ctx": 4096, "generates": True, "fim_tokens": {}}


class Model:
    """What the daemon says: one model, letters as tokens, and one answer."""

    def __init__(self, facts: dict[str, object], answer: str | None = "value") -> None:
        self.facts, self.answer = facts, answer
        self.asked: list[Generate] = []
        self.has_asked = asyncio.Event()
        self.has_hung_up = asyncio.Event()

    async def script(self, peer: Peer) -> None:
        try:
            while True:
                request = await peer.hear()
                match request:
                    case Models():
                        peer.say(encode_result(request.id, [self.facts]))
                    case Tokenize():
                        peer.say(
                            encode_result(request.id, [ord(letter) for letter in request.text])
                        )
                    case Generate():
                        self.asked.append(request)
                        self.has_asked.set()
                        if self.answer is not None:
                            peer.say_accepted(request.id)
                            peer.say_text(request.id, self.answer)
                            peer.say_done(request.id)
                    case _:
                        self.has_hung_up.set()  # a cancel
                        peer.say(encode_result(request.id, None))
        finally:
            self.has_hung_up.set()


class Editor:
    """A client of the server, and what the server logged in it."""

    def __init__(self) -> None:
        self.client = LanguageClient("editor", "1")
        self.logged: list[str] = []
        self.shown: list[str] = []
        self.client.feature(types.WINDOW_LOG_MESSAGE)(
            lambda params: self.logged.append(params.message)
        )
        self.client.feature(types.WINDOW_SHOW_MESSAGE)(
            lambda params: self.shown.append(params.message)
        )

    def open(self, text: str) -> None:
        item = types.TextDocumentItem(uri=URI, language_id="python", version=1, text=text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(text_document=item))

    def insert(self, line: int, character: int, text: str) -> None:
        at = types.Position(line=line, character=character)
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                text_document=types.VersionedTextDocumentIdentifier(uri=URI, version=2),
                content_changes=[
                    types.TextDocumentContentChangePartial(
                        range=types.Range(start=at, end=at), text=text
                    )
                ],
            )
        )

    async def complete(self, line: int, character: int, *, on_purpose: bool = True) -> list[str]:
        kind = types.InlineCompletionTriggerKind
        params = types.InlineCompletionParams(
            context=types.InlineCompletionContext(
                trigger_kind=kind.Invoked if on_purpose else kind.Automatic
            ),
            text_document=types.TextDocumentIdentifier(uri=URI),
            position=types.Position(line=line, character=character),
        )
        answer = await self.client.text_document_inline_completion_async(params)
        assert isinstance(answer, types.InlineCompletionList)
        return [str(item.insert_text) for item in answer.items]


def wishes(options: object, capabilities: types.ClientCapabilities | None) -> Any:
    """What an editor says first."""
    return types.InitializeParams(
        capabilities=capabilities or types.ClientCapabilities(),
        root_uri="file:///project",
        client_info=types.ClientInfo(name="Some  Editor"),
        initialization_options=options,
    )


@asynccontextmanager
async def editor(
    socket: str, options: object = None, *, capabilities: types.ClientCapabilities | None = None
) -> AsyncIterator[tuple[Editor, types.InitializeResult]]:
    """An editor and the server at the ends of a pair of sockets. It costs no process."""
    ours, theirs = socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    servers_reader, servers_writer = await asyncio.open_connection(sock=theirs)
    server = UmadLanguageServer(socket, LspSettings())
    serving = asyncio.ensure_future(server.talk(servers_reader, servers_writer))
    made = Editor()
    protocol = made.client.protocol
    protocol.set_writer(cast(Any, writer))
    hearing = asyncio.ensure_future(
        run_async(stop_event=threading.Event(), reader=cast(Any, reader), protocol=protocol)
    )
    try:
        started = await made.client.initialize_async(wishes(options, capabilities))
        made.client.initialized(types.InitializedParams())
        yield made, started
        await made.client.shutdown_async(None)
    finally:
        writer.close()
        await serving
        servers_writer.close()
        await hearing


def test_the_editor_is_told_that_there_are_inline_completions(tmp_path: Path) -> None:
    async def main() -> None:
        async with editor(str(tmp_path / "s")) as (_, started):
            assert started.capabilities.inline_completion_provider
            sync = started.capabilities.text_document_sync
            assert isinstance(sync, types.TextDocumentSyncOptions)
            assert sync.open_close
            assert sync.change == types.TextDocumentSyncKind.Incremental

    run(main())


def test_the_gap_at_the_cursor_is_filled(tmp_path: Path) -> None:
    async def main() -> None:
        model = Model(CODER)
        async with (
            daemon(str(tmp_path / "s"), model.script),
            editor(str(tmp_path / "s")) as (ed, _),
        ):
            ed.open("s = '\U0001f600' + \ny = 2\n")

            assert await ed.complete(0, 11) == ["value"]
        (asked,) = model.asked
        assert asked.request.app == "Some Editor"
        assert asked.request.prompt_ids == (
            *(1004, *map(ord, "project\n"), 1005, *map(ord, "src/f.py\n")),
            *(1001, *map(ord, "s = '\U0001f600' + "), 1002, *map(ord, "\ny = 2\n"), 1003),
        )

    run(main())


def test_a_change_is_in_the_next_request(tmp_path: Path) -> None:
    async def main() -> None:
        model = Model(CODER)
        async with (
            daemon(str(tmp_path / "s"), model.script),
            editor(str(tmp_path / "s")) as (ed, _),
        ):
            ed.open("x = \n")
            ed.insert(0, 4, "y + ")
            await ed.complete(0, 8)
        ids = model.asked[0].request.prompt_ids
        assert ids is not None
        assert "x = y + " in "".join(chr(one) for one in ids)

    run(main())


def test_an_editor_that_cancels_cancels_at_the_daemon(tmp_path: Path) -> None:
    async def main() -> None:
        model = Model(CODER, answer=None)
        async with (
            daemon(str(tmp_path / "s"), model.script),
            editor(str(tmp_path / "s")) as (ed, _),
        ):
            ed.open("x = ")
            asking = asyncio.ensure_future(ed.complete(0, 4))
            await model.has_asked.wait()
            later = asyncio.ensure_future(ed.complete(0, 3))
            await model.has_hung_up.wait()

            assert await asking == [], "a later request took its place"
            later.cancel()

    run(main())


def test_without_a_daemon_the_log_says_so_once_and_nothing_pops_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with editor(str(tmp_path / "none")) as (ed, _):
            ed.open("x = ")
            for _ in range(3):
                assert await ed.complete(0, 4) == []
            (line,) = ed.logged
            assert "umad serve" in line
            assert not ed.shown

    run(main())


@pytest.mark.parametrize(
    ("version", "older"),
    [(2, "upgrade the program that asks"), (0, "the daemon is older: upgrade umad")],
)
def test_a_daemon_of_another_version_is_told_once_with_which_side_to_upgrade(
    tmp_path: Path, version: int, older: str
) -> None:
    async def main() -> None:
        path = str(tmp_path / "s")
        async with daemon(path, of_version(version), greet=False), editor(path) as (ed, _):
            ed.open("x = ")
            for _ in range(2):
                assert await ed.complete(0, 4) == []
            (line,) = ed.logged
            assert older in line
            assert not ed.shown

    run(main())


def test_a_file_of_200_000_lines_is_changed_and_asked_about_by_its_near_lines(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        path, model = str(tmp_path / "s"), Model(CODER)
        async with daemon(path, model.script), editor(path) as (ed, _):
            ed.open("".join(f"line_{number} = 1\n" for number in range(200_000)))
            ed.insert(150_000, 0, "x = \n")
            assert await ed.complete(150_000, 4) == ["value"]
        prompt = "".join(map(chr, model.asked[0].request.prompt_ids or ()))
        before, _, after = prompt.partition(chr(1002))
        assert before.endswith("line_149999 = 1\nx = ")
        assert after.startswith("\nline_150000 = 1\n")
        assert before.count("\n") < 256 + 64
        assert after.count("\n") <= 65

    run(main())


def test_a_binary_file_is_not_asked_about(tmp_path: Path) -> None:
    async def main() -> None:
        path, model = str(tmp_path / "s"), Model(CODER)
        async with daemon(path, model.script), editor(path) as (ed, _):
            ed.open("\x7fELF\x02\x01\x00\x00\nx = ")
            assert await ed.complete(1, 4) == []
            assert not ed.logged
        assert not model.asked

    run(main())


def test_a_daemon_that_comes_later_is_found(tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "s")
        async with editor(path) as (ed, _):
            ed.open("x = ")
            assert await ed.complete(0, 4) == []
            async with daemon(path, Model(CODER).script):
                assert await ed.complete(0, 4) == ["value"]

    run(main())


def test_a_model_without_marks_is_told_in_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        model = Model(BLIND)
        async with (
            daemon(str(tmp_path / "s"), model.script),
            editor(str(tmp_path / "s")) as (ed, _),
        ):
            ed.open("x = \n")
            assert await ed.complete(0, 4) == ["value"]
            (line,) = ed.logged
            assert "no fill-in-the-middle tokens" in line
        assert model.asked[0].request.prompt_ids == tuple(map(ord, "x = "))

    run(main())


def test_an_editor_without_inline_completions_gets_an_entry_of_its_list(tmp_path: Path) -> None:
    async def main() -> None:
        model = Model(CODER, answer="ue + 1\n    more")
        async with (
            daemon(str(tmp_path / "s"), model.script),
            editor(str(tmp_path / "s")) as (ed, started),
        ):
            assert started.capabilities.completion_provider
            ed.open("x = val\n")
            position = types.Position(line=0, character=7)
            found = await ed.client.text_document_completion_async(
                types.CompletionParams(
                    text_document=types.TextDocumentIdentifier(uri=URI), position=position
                )
            )
        assert isinstance(found, types.CompletionList)
        (item,) = found.items
        assert isinstance(item.text_edit, types.TextEdit)
        assert item.text_edit.new_text == "ue + 1\n    more"
        assert item.filter_text == "value + 1", "editors keep what goes on from the word"

    run(main())


def test_an_editor_with_inline_completions_gets_no_other(tmp_path: Path) -> None:
    async def main() -> None:
        able = types.ClientCapabilities(
            text_document=types.TextDocumentClientCapabilities(
                inline_completion=types.InlineCompletionClientCapabilities()
            )
        )
        async with editor(str(tmp_path / "none"), capabilities=able) as (_, started):
            assert started.capabilities.completion_provider is None

    run(main())


def test_a_wrong_setting_is_named_in_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with editor(str(tmp_path / "none"), {"completion": {"debounce": 1}}) as (ed, _):
            ed.open("")
            await ed.complete(0, 0)
            assert any("debounce_ms" in line for line in ed.logged)

    run(main())


def test_a_file_that_is_not_open_has_no_completions(tmp_path: Path) -> None:
    async def main() -> None:
        async with editor(str(tmp_path / "none")) as (ed, _):
            assert await ed.complete(0, 0) == []
            assert not ed.logged

    run(main())


def test_the_command_is_a_server_over_stdin_and_stdout(tmp_path: Path) -> None:
    async def main() -> int | None:
        made, path = Editor(), str(tmp_path / "s")
        async with daemon(path, Model(CODER).script):
            command = (sys.executable, "-m", "umad", "lsp", "--socket", path)
            await made.client.start_io(*command)
            await made.client.initialize_async(wishes(None, None))
            made.client.initialized(types.InitializedParams())
            made.open("x = ")
            assert await made.complete(0, 4) == ["value"]
            await made.client.shutdown_async(None)
            made.client.exit(None)
            server = made.client._server
            assert server is not None
            code = await server.wait()
            await cast(Any, made.client).stop()
            return code

    assert run(main(), within_s=PROCESS_PATIENCE_S) == 0


def test_a_server_whose_editor_dies_ends(tmp_path: Path) -> None:
    async def main() -> int:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "umad", "lsp", "--socket", str(tmp_path / "none")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert server.stdin is not None
        server.stdin.close()
        return await server.wait()

    assert run(main(), within_s=PROCESS_PATIENCE_S) == 1, "it was not told to shut down"


def test_without_the_packages_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from umad.cli.app import main  # noqa: PLC0415  # the packages are hidden from it alone

    for name in [one for one in sys.modules if one.startswith("umad.lsp.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pygls.lsp.server", None)

    code = main(["lsp"])

    assert code == 1
    assert "pip install 'umad[editors]'" in capsys.readouterr().err
