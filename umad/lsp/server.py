"""The language server: tells the editor what it can do, and hands requests on.

It never opens a message in the editor: completions come unasked, so a failure is a line of the
editor's log (`window/logMessage`), once until it changes. Nothing of a file's text is logged.
pygls reads and writes the messages; this process keeps the files itself (`umad.lsp.documents`).
"""

import logging
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from typing_extensions import override

from umad.client import AsyncClient, ClientOptions
from umad.errors import BadRequest, UmadError
from umad.exit_codes import DONE, FAILED
from umad.infill.ghost import GhostWriter
from umad.lsp.completing import InlineCompleter
from umad.lsp.documents import Documents, Encoding, Place
from umad.lsp.settings import LspSettings, settings_of
from umad.version import __version__

_OPTIONS = ClientOptions(name="umad-lsp")


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
        document = self._documents.get(params.text_document.uri)
        nothing = types.InlineCompletionList(items=[])
        if document is None:
            return nothing
        kind = params.context.trigger_kind
        position = params.position
        try:
            ghost = await self._completer.complete(
                document,
                Place(line=position.line, units=position.character),
                self._settings,
                name=self._name_of(document.uri),
                project=self._project,
                is_automatic=kind == types.InlineCompletionTriggerKind.Automatic,
            )
        except UmadError as error:
            self._tell(f"{error.code}: {error.message}", types.MessageType.Warning)
            return nothing
        self._last_told = ""
        if ghost is None:
            return nothing
        if ghost.is_blind:
            self._tell(
                f"{ghost.model} has no fill-in-the-middle tokens: it sees only the text before "
                "the cursor",
                types.MessageType.Info,
            )
        here = types.Range(start=position, end=position)
        item = types.InlineCompletionItem(insert_text=ghost.text, range=here)
        return types.InlineCompletionList(items=[item])

    # -- what they share -------------------------------------------------------------------------

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
