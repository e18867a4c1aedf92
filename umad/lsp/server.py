"""The language server: tells the editor what it can do, and hands requests on.

An editor that knows no inline completions (Helix, Eglot) gets the same text as one entry of its
list of completions. Nothing opens a message in the editor: completions come unasked, so a failure
is a line of the editor's log (`window/logMessage`), once until it changes. Nothing of a file's text
is logged. pygls reads and writes the messages; this process keeps the files itself
(`umad.lsp.documents`).
"""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from lsprotocol import types
from pygls.io_ import run_async
from pygls.lsp.server import LanguageServer
from typing_extensions import override

from umad.client import AsyncClient, ClientOptions
from umad.errors import BadRequest, UmadError
from umad.exit_codes import DONE, FAILED
from umad.infill.ghost import GhostWriter, app_name
from umad.infill.manner import is_word
from umad.lsp.completing import InlineCompleter
from umad.lsp.documents import Documents, Encoding, Place
from umad.lsp.settings import LspSettings, settings_of
from umad.version import __version__

_OPTIONS = ClientOptions(name="umad-lsp")
# Of an entry in a list of completions.
_LABEL_CHARS = 60


class UmadLanguageServer:
    """One editor's server. `serve` runs it until the editor says exit or closes stdin."""

    def __init__(self, socket: str | None, settings: LspSettings) -> None:
        self._client = AsyncClient(socket, options=_OPTIONS)
        self._completer = InlineCompleter(GhostWriter(self._client))
        self._defaults = self._settings = settings
        self._documents = Documents()
        self._root = self._project = ""
        self._last_told = ""
        self._was_shut_down = False
        self._server = LanguageServer("umad", __version__)
        self._register()

    def serve(self) -> int:
        """Read stdin and write stdout until the editor ends it; return the exit code that LSP
        wants.
        """
        _log_without_texts()
        # pygls closes what it writes to. Whatever else writes to stdout must not reach the editor.
        own = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._server.start_io(sys.stdin.buffer, own)
        return DONE if self._was_shut_down else FAILED

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the editor at the other end of these streams, until it closes them."""
        self._server.protocol.set_writer(cast(Any, writer))
        await run_async(
            stop_event=threading.Event(),
            reader=cast(Any, reader),
            protocol=self._server.protocol,
            error_handler=self._server.report_server_error,
        )
        await self._client.close()

    # -- handlers --------------------------------------------------------------------------------

    def _register(self) -> None:
        handlers: Mapping[str, Any] = {
            types.INITIALIZE: self._initialize,
            types.INITIALIZED: self._initialized,
            types.SHUTDOWN: self._shutdown,
            types.WORKSPACE_DID_CHANGE_CONFIGURATION: self._configure,
        }
        # pygls marks what it is given, and a method of an object cannot be marked.
        for name, handler in handlers.items():
            self._server.feature(name)(partial(handler))
        self._server.feature(
            types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions()
        )(partial(self._complete))
        # In the place of pygls' own, which copy the whole file at each change.
        own = self._server.protocol.fm.add_builtin_feature
        own(types.TEXT_DOCUMENT_DID_OPEN, partial(_Opened.of, self._documents))
        own(types.TEXT_DOCUMENT_DID_CHANGE, partial(_Opened.changed, self._documents))
        own(types.TEXT_DOCUMENT_DID_CLOSE, partial(_Opened.closed, self._documents))

    def _initialize(self, params: types.InitializeParams) -> None:
        folders = params.workspace_folders or ()
        self._root = folders[0].uri if folders else params.root_uri or ""
        self._project = folders[0].name if folders else PurePosixPath(_path(self._root)).name
        known = params.capabilities.text_document
        if known is None or known.inline_completion is None:
            self._server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions())(
                partial(self._list)
            )
        if params.client_info is not None:
            self._defaults = replace(self._defaults, app=app_name(params.client_info.name))
        self._take_settings(params.initialization_options)

    def _initialized(self, params: types.InitializedParams) -> None:
        encoding = self._server.server_capabilities.position_encoding
        if encoding is not None:
            self._documents.encoding = cast(Encoding, str(getattr(encoding, "value", encoding)))

    def _configure(self, params: types.DidChangeConfigurationParams) -> None:
        settings = params.settings
        if isinstance(settings, dict) and "umad" in settings:
            self._take_settings(settings["umad"])

    async def _shutdown(self, params: None) -> None:
        self._was_shut_down = True
        await self._client.close()

    async def _complete(self, params: types.InlineCompletionParams) -> types.InlineCompletionList:
        position = params.position
        kind = params.context.trigger_kind
        text = await self._text_at(
            params.text_document.uri,
            position,
            is_automatic=kind == types.InlineCompletionTriggerKind.Automatic,
        )
        here = types.Range(start=position, end=position)
        items = [types.InlineCompletionItem(insert_text=text, range=here)] if text else []
        return types.InlineCompletionList(items=items)

    async def _list(self, params: types.CompletionParams) -> types.CompletionList:
        """The same as one entry of a list, for editors without inline completions."""
        position, uri = params.position, params.text_document.uri
        text = await self._text_at(uri, position, is_automatic=True)
        # The next key may lead to another text.
        if not text:
            return types.CompletionList(is_incomplete=True, items=[])
        first_line = text.strip().partition("\n")[0]
        item = types.CompletionItem(
            label=f"{first_line[:_LABEL_CHARS]} …" if "\n" in text.strip() else first_line,
            kind=types.CompletionItemKind.Text,
            detail="umad",
            documentation=text,
            # Editors keep what goes on from the word at the cursor.
            filter_text=self._word_before(uri, position) + first_line,
            text_edit=types.TextEdit(
                range=types.Range(start=position, end=position), new_text=text
            ),
        )
        return types.CompletionList(is_incomplete=True, items=[item])

    # -- what they share -------------------------------------------------------------------------

    async def _text_at(self, uri: str, position: types.Position, *, is_automatic: bool) -> str:
        """What is shown at the cursor; "" for nothing. An error is told in the log."""
        document = self._documents.get(uri)
        if document is None:
            return ""
        try:
            ghost = await self._completer.complete(
                document,
                Place(line=position.line, units=position.character),
                self._settings,
                name=self._name_of(uri),
                project=self._project,
                is_automatic=is_automatic,
            )
        except UmadError as error:
            self._tell(f"{error.code}: {error.message}", types.MessageType.Warning)
            return ""
        if ghost is None:
            return ""
        if ghost.is_blind:
            self._tell(
                f"{ghost.model} has no fill-in-the-middle tokens: it sees only the text before "
                "the cursor",
                types.MessageType.Info,
            )
        else:
            self._last_told = ""
        return ghost.text

    def _word_before(self, uri: str, position: types.Position) -> str:
        document = self._documents.get(uri)
        if document is None:
            return ""
        place = Place(line=position.line, units=position.character)
        line = document.lines[min(position.line, len(document.lines) - 1)]
        before = line[: document.column(place)]
        start = len(before)
        while start and is_word(before[start - 1]):
            start -= 1
        return before[start:]

    def _take_settings(self, value: Any) -> None:
        try:
            self._settings = settings_of(value, self._defaults)
        except BadRequest as error:
            self._tell(f"the settings stay as they were: {error.message}", types.MessageType.Error)
            return
        self._completer.forget()

    def _tell(self, message: str, kind: types.MessageType) -> None:
        """Say it in the editor's log, unless it was the last thing said."""
        if message == self._last_told:
            return
        self._last_told = message
        self._server.window_log_message(
            types.LogMessageParams(type=kind, message=f"umad: {message}")
        )

    def _name_of(self, uri: str) -> str:
        """The file's name within the project; of a file elsewhere its last part."""
        path = PurePosixPath(_path(uri))
        root = _path(self._root)
        if root and path.is_relative_to(root):
            return str(path.relative_to(root))
        return path.name


class _Opened:
    """The editor's notices about its files, as changes of `Documents`."""

    @staticmethod
    def of(documents: Documents, params: types.DidOpenTextDocumentParams) -> None:
        """A file was opened."""
        file = params.text_document
        documents.open(file.uri, str(file.language_id), file.text)

    @staticmethod
    def changed(documents: Documents, params: types.DidChangeTextDocumentParams) -> None:
        """A file was changed."""
        document = documents.get(params.text_document.uri)
        if document is None:
            return
        for change in params.content_changes:
            if not isinstance(change, types.TextDocumentContentChangePartial):
                document.replace_all(change.text)
                continue
            start, end = change.range.start, change.range.end
            document.replace(
                Place(line=start.line, units=start.character),
                Place(line=end.line, units=end.character),
                change.text,
            )

    @staticmethod
    def closed(documents: Documents, params: types.DidCloseTextDocumentParams) -> None:
        """A file was closed."""
        documents.close(params.text_document.uri)


class _FixedText(logging.Formatter):
    """pygls logs messages with their content: only the fixed words come through."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0] if record.exc_info else None
        return f"{record.name}: {record.msg}" + (f" ({kind.__name__})" if kind else "")


def _log_without_texts() -> None:
    handler = logging.StreamHandler()  # stderr: stdout is the editor's
    handler.setFormatter(_FixedText())
    logger = logging.getLogger("pygls")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.ERROR)


def _path(uri: str) -> str:
    return unquote(urlsplit(uri).path)
