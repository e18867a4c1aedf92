"""An editor that speaks to the language server byte by byte. Not a test."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import socketpair
from typing import Any

from tests.lsp.test_server import URI
from umad.lsp.server import UmadLanguageServer
from umad.lsp.settings import LspSettings

Message = dict[str, Any]
NOT_INITIALIZED, PARSE, INVALID, NO_METHOD, PARAMS, INTERNAL, CANCELLED = (
    -32002,
    -32700,
    -32600,
    -32601,
    -32602,
    -32603,
    -32800,
)


def framed(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def message(method: str, params: Any = None, **more: Any) -> Message:
    return {"jsonrpc": "2.0", "method": method, "params": params, **more}


def begins(**more: Any) -> Message:
    return message("initialize", {"processId": None, "capabilities": {}, "rootUri": None, **more})


def asks(line: int = 0, character: int = 4, uri: str = URI) -> Message:
    return message(
        "textDocument/inlineCompletion",
        {
            "context": {"triggerKind": 1},
            "textDocument": {"uri": uri},
            "position": {"line": line, "character": character},
        },
    )


def opens(text: str, uri: str = URI) -> Message:
    file = {"uri": uri, "languageId": "python", "version": 1, "text": text}
    return message("textDocument/didOpen", {"textDocument": file})


def changes(line: int = 0, character: int = 0) -> Message:
    at = {"line": line, "character": character}
    change = {"range": {"start": at, "end": at}, "text": "y"}
    return message(
        "textDocument/didChange",
        {"textDocument": {"uri": URI, "version": 2}, "contentChanges": [change]},
    )


class Wire:
    """The editor's end of the connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._last_id = 0
        # What came that is no answer.
        self.told: list[Message] = []

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def say(self, said: Any) -> None:
        self.write(framed(json.dumps(said).encode()))

    def begin(self, said: Message) -> int:
        """Send it as a request; its id."""
        self._last_id += 1
        self.say({**said, "id": self._last_id})
        return self._last_id

    async def ask(self, said: Message) -> Message:
        """The answer to a request."""
        return await self.answer(self.begin(said))

    async def answer(self, id_: int | None) -> Message:
        """The answer with this id, which has to be the next."""
        while True:
            heard = await self._next()
            if "method" not in heard:
                assert heard.get("id") == id_
                return heard
            self.told.append(heard)

    async def _next(self) -> Message:
        length = 0
        while (line := await self._reader.readline()) != b"\r\n":
            assert line, "the server has ended"
            name, _, value = line.partition(b":")
            if name == b"Content-Length":
                length = int(value)
        heard: Message = json.loads(await self._reader.readexactly(length))
        return heard


@asynccontextmanager
async def wire(socket: str, *, begun: Message | None = None) -> AsyncIterator[Wire]:
    """A server, begun unless the test does it."""
    ours, theirs = socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    servers_reader, servers_writer = await asyncio.open_connection(sock=theirs)
    server = UmadLanguageServer(socket, LspSettings())
    serving = asyncio.ensure_future(server.talk(servers_reader, servers_writer))
    made = Wire(reader, writer)
    try:
        if begun is not None:
            assert "result" in await made.ask(begun)
            made.say(message("initialized", {}))
        yield made
    finally:
        writer.close()
        await serving
        servers_writer.close()


def code(answer: Message) -> int | None:
    error = answer.get("error")
    return None if error is None else error["code"]
