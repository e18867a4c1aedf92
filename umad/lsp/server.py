"""The language server: tells the editor what it can do, and hands requests on.

An editor that knows no inline completions (Helix, Eglot) gets the same text as one entry of its
list of completions. Nothing opens a message in the editor: completions come unasked, so a failure
is a line of the editor's log (`window/logMessage`), once until it changes. Nothing of a file's text
is logged. Messages are read by `umad.lsp.connection` and written by pygls; this process keeps the
files itself (`umad.lsp.documents`).
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
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
from umad.infill.ghost import GhostWriter, app_name
from umad.infill.manner import is_word
from umad.lsp.completing import InlineCompleter
from umad.lsp.connection import LINE_BYTES, EditorProtocol
from umad.lsp.documents import Documents, Encoding, Place
from umad.lsp.settings import LspSettings, settings_of
from umad.standard_streams import give_back, take_standard_streams
from umad.version import __version__

_log = logging.getLogger(__name__)
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
        self._last_told = ""
        self._server = _QuietServer("umad", __version__, protocol_cls=EditorProtocol)
        self._protocol = cast(EditorProtocol, self._server.protocol)
        self._register()

    def serve(self) -> int:
        """Read stdin and write stdout until the editor ends it; return the exit code that LSP
        wants.
        """
        _log_without_texts()
        asyncio.run(self._serve())
        return DONE if self._protocol.is_over else FAILED

    async def _serve(self) -> None:
        reader, writer = await take_standard_streams(LINE_BYTES)
        try:
            await self.talk(reader, writer)
        finally:
            await give_back(writer)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the editor at the other end of these streams, until it says exit or closes them."""
        self._protocol.set_writer(cast(Any, writer))
        try:
            await self._protocol.talk(reader)
        finally:
            await self._client.close()

    # -- handlers --------------------------------------------------------------------------------

    def _register(self) -> None:
        handlers: Mapping[str, Any] = {
            types.INITIALIZE: self._initialize,
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
        own(types.TEXT_DOCUMENT_DID_OPEN, partial(self._open))
        own(types.TEXT_DOCUMENT_DID_CHANGE, partial(self._change))
        own(types.TEXT_DOCUMENT_DID_CLOSE, partial(self._close))

    def _initialize(self, params: types.InitializeParams) -> None:
        encoding = self._server.workspace.position_encoding
        self._documents.encoding = cast(Encoding, str(getattr(encoding, "value", encoding)))
        known = params.capabilities.text_document
        # An earlier `initialize` may have failed behind this.
        self._protocol.fm.features.pop(types.TEXT_DOCUMENT_COMPLETION, None)
        if known is None or known.inline_completion is None:
            self._server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions())(
                partial(self._list)
            )
        if params.client_info is not None:
            self._defaults = replace(self._defaults, app=app_name(params.client_info.name))
        self._take_settings(params.initialization_options)

    def _configure(self, params: types.DidChangeConfigurationParams) -> None:
        settings = params.settings
        if isinstance(settings, dict) and "umad" in settings:
            self._take_settings(settings["umad"])

    def _open(self, params: types.DidOpenTextDocumentParams) -> None:
        file = params.text_document
        self._completer.end(file.uri)
        self._documents.open(file.uri, str(file.language_id), file.text)

    def _change(self, params: types.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        document = self._documents.get(uri)
        if document is None:
            return
        # What was asked about is not there any more, also where the editor does not cancel.
        self._completer.end(uri)
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

    def _close(self, params: types.DidCloseTextDocumentParams) -> None:
        self._completer.end(params.text_document.uri)
        self._documents.close(params.text_document.uri)

    async def _complete(self, params: types.InlineCompletionParams) -> types.InlineCompletionList:
        position = params.position
        if params.context.selected_completion_info is not None:
            # The editor's list shows a word: the text would have to go on from it, which the next
            # key does.
            return types.InlineCompletionList(items=[])
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
        name, project = self._names_of(uri)
        try:
            ghost = await self._completer.complete(
                document,
                Place(line=position.line, units=position.character),
                self._settings,
                name=name,
                project=project,
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
        elif ghost.model:
            # The daemon has answered: the next failure is news. A remembered answer says nothing.
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

    def _names_of(self, uri: str) -> tuple[str, str]:
        """The file's name within its project, and the project's; of a file elsewhere the last part
        alone.
        """
        path = PurePosixPath(_path(uri))
        found = [
            (root, project)
            for root, project in self._projects()
            if root and path.is_relative_to(root)
        ]
        if not found:
            return path.name, ""
        # A folder of the workspace may lie in another one.
        root, project = max(found, key=lambda one: len(one[0]))
        return str(path.relative_to(root)), project

    def _projects(self) -> Iterator[tuple[str, str]]:
        """Paths and names of the folders that the editor has open now."""
        workspace = self._server.workspace
        for folder in workspace.folders.values():
            yield _path(folder.uri), folder.name
        if not workspace.folders:
            root = _path(workspace.root_uri or "")
            yield root, PurePosixPath(root).name


class _QuietServer(LanguageServer):
    """A server that opens no message in the editor: pygls shows each unexpected failure."""

    @override
    def report_server_error(self, error: Exception, source: Any) -> None:
        # The text of an error may quote a file.
        _log.warning("a message failed kind=%s", type(error).__name__)


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
    """The path in a URI; "" where it is none."""
    try:
        return unquote(urlsplit(uri).path)
    except ValueError:
        return ""
