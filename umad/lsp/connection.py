"""Reads one editor's messages, keeps the order that LSP wants, and answers what is wrong in words.

    before `initialize`  a request is refused, and a notice is dropped; one that failed is none
    after `shutdown`     a request is refused, and `exit` alone counts
    no message           refused, with its id where it has one

pygls' own loop answers none of these. An editor would wait for ever, or show the failure to its
user. Headers are read as HTTP's are, in any case; after bytes that are none, the next header
begins anew. Not: what a message does (`umad.lsp.server`).
"""

import asyncio
import json
import logging
import re
from typing import Any

from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInvalidRequest,
    JsonRpcMethodNotFound,
    JsonRpcParseError,
    JsonRpcServerNotInitialized,
)
from pygls.protocol import LanguageServerProtocol
from typing_extensions import override

_log = logging.getLogger(__name__)
# Of a header's line.
LINE_BYTES = 2**16
# More than any file that an editor opens; a length beyond it is a mistake.
MAX_BODY_BYTES = 2**30
# Anywhere in a line: after a body of another length, it stands behind the body's rest.
_LENGTH = re.compile(rb"content-length[ \t]*:[ \t]*(\d{1,20})\s*$", re.IGNORECASE)
_LENGTH_NAME = re.compile(rb"\s*content-length\s*:", re.IGNORECASE)


class EditorProtocol(LanguageServerProtocol):
    """The editor's messages, one after the other. `hear` is false after `exit`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_begun = False
        # The id of an `initialize` that is not answered yet.
        self._beginning: int | str | None = None
        # The editor has said `shutdown`.
        self.is_over = False

    async def talk(self, reader: asyncio.StreamReader) -> None:
        """Serve the editor until it says `exit` or closes its end."""
        while True:
            body = await self._next_body(reader)
            if body is None or not self.hear(body):
                break
        # Whoever asked has gone: what still runs is cancelled at the daemon.
        for running in list(self._request_futures.values()):
            running.cancel()

    def hear(self, body: bytes) -> bool:
        """Handle one message, or refuse it. False where it ends the connection."""
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            self._refuse(None, JsonRpcParseError("a message's body is no JSON"))
            return True
        if not isinstance(data, dict) or data.setdefault("jsonrpc", "2.0") != "2.0":
            self._refuse(None, JsonRpcInvalidRequest("a message is one object of JSON-RPC 2.0"))
            return True
        method = data.get("method")
        if method is None and ("result" in data or "error" in data):
            return True  # this server asks the editor nothing
        id_ = data.get("id")
        is_request = "id" in data
        if not isinstance(method, str) or (is_request and type(id_) not in (int, str)):
            known = id_ if type(id_) in (int, str) else None
            self._refuse(known, JsonRpcInvalidRequest("a request has a method and an id"))
            return True
        if method == types.EXIT:
            return False
        if is_request:
            try:
                self._ask(data, method)
            except JsonRpcException as error:
                self._refuse(id_, error)
        else:
            self._notice(data, method)
        return True

    def _ask(self, data: dict[str, Any], method: str) -> None:
        """Begin a request. Raises what it is refused with."""
        if self.is_over:
            raise JsonRpcInvalidRequest("the server was told to shut down")
        if not self._has_begun and method != types.INITIALIZE:
            raise JsonRpcServerNotInitialized("`initialize` comes first")
        if self._has_begun and method == types.INITIALIZE:
            raise JsonRpcInvalidRequest("`initialize` was said before")
        self._get_handler(method)  # raises where there is none
        if method == types.SHUTDOWN:
            data.pop("params", None)  # some editors send an empty object
        message = self.structure_message(data)
        if getattr(message, "id", None) is None:
            raise JsonRpcMethodNotFound(f"{method} is a notification, and has no answer")
        if method == types.INITIALIZE:
            # What comes before its answer is taken, too: some editors do not wait.
            self._has_begun, self._beginning = True, data["id"]
        self.is_over = method == types.SHUTDOWN
        self.handle_message(message)

    def _notice(self, data: dict[str, Any], method: str) -> None:
        if self.is_over or not self._has_begun:
            return
        try:
            self.handle_message(self.structure_message(data))
        except JsonRpcException as error:
            _log.warning("a notice was dropped kind=%s", type(error).__name__)

    def _refuse(self, id_: int | str | None, error: JsonRpcException) -> None:
        self._send_response(id_, error=error.to_response_error())

    @override
    def _send_response(self, msg_id: Any, result: Any = None, error: Any = None) -> None:
        if self._beginning is not None and msg_id == self._beginning:
            # Where it failed, nothing has begun: the editor may try another one.
            self._has_begun, self._beginning = error is None, None
        super()._send_response(msg_id, result, error)

    async def _next_body(self, reader: asyncio.StreamReader) -> bytes | None:
        """The next message's body; None where the editor has closed its end."""
        length: int | None = None
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                continue  # no header is as long; the rest of the line may be one
            except ConnectionError:
                return None  # it has gone with answers unread
            if not line:
                return None
            if found := _LENGTH.search(line):
                length = int(found[1])
            elif _LENGTH_NAME.match(line):
                length = MAX_BODY_BYTES + 1
            if line.strip() or length is None:
                continue
            if length <= MAX_BODY_BYTES:
                break
            self._refuse(None, JsonRpcParseError("a message's length is no number of bytes"))
            length = None
        try:
            return await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
