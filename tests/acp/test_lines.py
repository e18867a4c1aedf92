"""An editor that says what is no message is answered, and the agent goes on."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socketpair
from typing import Any

import pytest

from tests.acp.test_agent import Daemon
from tests.client.scripted_daemon import PROCESS_PATIENCE_S, daemon, run
from umad.acp import lines
from umad.acp.agent import UmadAgent
from umad.acp.serving import talk
from umad.acp.sessions import SessionFiles
from umad.acp.turn import Asking
from umad.client import AsyncClient

PARSE, INVALID, NO_METHOD, PARAMS = -32700, -32600, -32601, -32602


class Wire:
    """The editor's end of the connection, line by line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._last_id = 0

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def say(self, method: str, params: Any = None, **more: Any) -> None:
        said = {"jsonrpc": "2.0", "method": method, "params": params, **more}
        self.write(json.dumps(said).encode() + b"\n")

    async def ask(self, method: str, params: Any = None) -> Any:
        """The answer to a request: its result, or its error's number."""
        return await self.answer(self.begin(method, params))

    def begin(self, method: str, params: Any = None) -> int:
        self._last_id += 1
        self.say(method, params, id=self._last_id)
        return self._last_id

    async def answer(self, id_: int | None) -> Any:
        while True:
            heard = json.loads(await self._reader.readline())
            if "method" not in heard and heard.get("id") == id_:
                return heard["error"]["code"] if "error" in heard else heard["result"]


@asynccontextmanager
async def wire(socket: str, home: Path) -> AsyncIterator[Wire]:
    ours, theirs = socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    agents_reader, agents_writer = await asyncio.open_connection(
        sock=theirs, limit=lines.LINE_BYTES
    )
    client = AsyncClient(socket)
    made = UmadAgent(client, SessionFiles(home / "umad" / "acp"), Asking(model=None, lane=None))
    serving = asyncio.ensure_future(talk(made, agents_reader, agents_writer))
    editor = Wire(reader, writer)
    try:
        begun = await editor.ask("initialize", {"protocolVersion": 1})
        assert begun["protocolVersion"] == 1
        yield editor
    finally:
        writer.close()
        await serving
        agents_writer.close()
        await client.close()


@pytest.mark.parametrize(
    ("line", "refused", "id_"),
    [
        (b"{", PARSE, None),
        (b"\xff\xfe", PARSE, None),
        (b"[" * 100_000, PARSE, None),
        (b'[{"jsonrpc": "2.0", "id": 7, "method": "session/list"}]', INVALID, None),
        (b"null", INVALID, None),
        (b"{}", INVALID, None),
        (b'{"id": 7, "method": 1}', INVALID, 7),
        (b'{"id": {}, "method": "session/list"}', INVALID, {}),
        (b'{"id": 7, "method": "session/list", "params": 1}', INVALID, 7),
        (b'{"id": 7, "method": "session/new", "params": {"cwd": 1}}', PARAMS, 7),
        (b'{"id": 7, "method": "umad/unknown"}', NO_METHOD, 7),
    ],
)
def test_what_is_no_message_is_refused_and_the_next_one_counts(
    tmp_path: Path, line: bytes, refused: int, id_: Any
) -> None:
    async def main() -> None:
        async with wire(str(tmp_path / "none"), tmp_path) as editor:
            editor.write(b"\n \r\n" + line + b"\r\n")
            assert await editor.answer(id_) == refused
            assert await editor.ask("session/list", {}) == {"sessions": []}

    run(main())


def test_a_line_that_is_too_long_is_refused_and_the_next_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES", 1000)

    async def main() -> None:
        async with wire(str(tmp_path / "none"), tmp_path) as editor:
            editor.write(b"x" * 5000 + b"\n")
            assert await editor.answer(None) == INVALID
            assert await editor.ask("session/list", {}) == {"sessions": []}

    run(main())


@pytest.mark.parametrize("asked", [0, 1, 2, 65535])
def test_an_editor_of_another_version_is_told_the_one_that_is_spoken(
    tmp_path: Path, asked: int
) -> None:
    async def main() -> None:
        async with wire(str(tmp_path / "none"), tmp_path) as editor:
            begun = await editor.ask("initialize", {"protocolVersion": asked})
            assert begun["protocolVersion"] == 1

    run(main())


def test_a_cancellation_with_an_id_cancels(tmp_path: Path) -> None:
    async def main() -> None:
        model, path = Daemon(None), str(tmp_path / "s")
        async with daemon(path, model.script), wire(path, tmp_path) as editor:
            made = await editor.ask("session/new", {"cwd": "/project", "mcpServers": []})
            prompt = [{"type": "text", "text": "hello"}]
            session = made["sessionId"]
            asked = editor.begin("session/prompt", {"sessionId": session, "prompt": prompt})
            await model.is_asked.wait()
            editor.begin("session/cancel", {"sessionId": session})

            assert await editor.answer(asked) == {"stopReason": "cancelled"}
            await model.is_cancelled.wait()

    run(main())


def test_two_sessions_answer_at_once_and_one_is_cancelled_alone(tmp_path: Path) -> None:
    async def main() -> None:
        model, path = Daemon(None, "Hello!"), str(tmp_path / "s")
        async with daemon(path, model.script), wire(path, tmp_path) as editor:
            prompt = [{"type": "text", "text": "hello"}]
            both = []
            for _ in range(2):
                made = await editor.ask("session/new", {"cwd": "/project", "mcpServers": []})
                both.append({"sessionId": made["sessionId"], "prompt": prompt})
            first = editor.begin("session/prompt", both[0])
            await model.is_asked.wait()
            assert await editor.ask("session/prompt", both[1]) == {"stopReason": "end_turn"}
            editor.say("session/cancel", {"sessionId": both[0]["sessionId"]})

            assert await editor.answer(first) == {"stopReason": "cancelled"}

    run(main())


def test_a_script_in_a_file_is_served_as_an_editor_is(tmp_path: Path) -> None:
    script, said = tmp_path / "script", tmp_path / "said"
    begins = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": 1}}
    script.write_text(json.dumps(begins))  # without an end of line

    async def main() -> int:
        with script.open("rb") as source, said.open("wb") as target:
            agent = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "umad", "acp", "--socket", str(tmp_path / "none")),
                stdin=source,
                stdout=target,
            )
            return await agent.wait()

    assert run(main(), within_s=PROCESS_PATIENCE_S) == 0
    (answer,) = said.read_text().splitlines()
    assert json.loads(answer)["result"]["protocolVersion"] == 1
