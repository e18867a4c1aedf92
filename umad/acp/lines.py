"""Reads and writes an editor's messages, one JSON object a line, and refuses what is none.

The package's own transport leaves a line that is no JSON without an answer, and ends the process
at a list. Here each of these is refused in JSON-RPC's words, and the next line is read. Lines have
a longest length. Not: what a message does (`umad.acp.agent`).
"""

import asyncio
import json
from typing import Any

from acp import RequestError

# A prompt may have whole files in it.
LINE_BYTES = 50 * 2**20
_CANCEL = "session/cancel"

Message = dict[str, Any]


class EditorLines:
    """The messages of one editor, in the place of the package's transport.

    Owner: the process's loop.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        # Of a stream, one at a time may wait for its reader.
        self._drain = asyncio.Lock()

    async def receive(self) -> Message | None:
        """The next message; None where the editor has closed its end."""
        while (line := await self._line()) is not None:
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                await self._refuse(None, RequestError.parse_error({"details": "no JSON"}))
                continue
            why = _flaw(message)
            if why is not None:
                id_ = message.get("id") if isinstance(message, dict) else None
                await self._refuse(id_, RequestError.invalid_request({"details": why}))
                continue
            checked: Message = message
            if checked.get("method") == _CANCEL and "id" in checked:
                # It is a notification. As a request it would be refused, and the prompt would run.
                await self.send({"jsonrpc": "2.0", "id": checked.pop("id"), "result": None})
            return checked
        return None

    async def send(self, message: Message) -> None:
        """Send a message, and wait while the editor does not read."""
        # The package quotes a wrong value in its refusal; not every value is JSON.
        line = json.dumps(message, separators=(",", ":"), default=str)
        self._writer.write(line.encode() + b"\n")
        async with self._drain:
            await self._writer.drain()

    async def close(self) -> None:
        """Nothing: whoever opened the streams closes them."""

    async def _line(self) -> bytes | None:
        """The next line that is neither empty nor too long."""
        is_too_long = False
        while True:
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as error:
                is_too_long = True
                await self._reader.readexactly(error.consumed)
                continue
            except asyncio.IncompleteReadError as error:
                line = error.partial
                if not line:
                    return None
            except ConnectionError:
                return None  # it has gone with answers unread
            if is_too_long:
                is_too_long = False
                why = {"details": "the line is too long"}
                await self._refuse(None, RequestError.invalid_request(why))
            elif line.strip():
                return line

    async def _refuse(self, id_: Any, error: RequestError) -> None:
        await self.send({"jsonrpc": "2.0", "id": id_, "error": error.to_error_obj()})


def _flaw(message: Any) -> str | None:
    """What is wrong with a message, in words; None for nothing."""
    if not isinstance(message, dict):
        return "a message is one object; lists of messages are not taken"
    if "method" not in message and "id" not in message:
        return "a message has a method or an id"
    if not isinstance(message.get("method", ""), str):
        return "method must be a text"
    if type(message.get("id")) not in (int, str, type(None)):
        return "id must be a number or a text"
    if not isinstance(message.get("params"), dict | list | None):
        return "params must be an object"
    return None
