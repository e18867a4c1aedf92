"""The protocol's methods: an editor begins sessions, asks, changes modes and cancels.

A method's arguments are named as the package `acp` names them. Not: what a prompt does
(`umad.acp.turn`). Owner: the process's loop.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from acp import PROTOCOL_VERSION, Client, helpers, schema
from acp.exceptions import RequestError

from umad.acp.content import content_of
from umad.acp.senses import senses_of
from umad.acp.sessions import ASK, MODES, Session, SessionFiles
from umad.acp.tools import offered
from umad.acp.turn import Asking, Turn
from umad.client import AsyncClient
from umad.content import MEDIA_NAMES, pieces_of
from umad.conversation import ChatMessage
from umad.errors import BadRequest, UmadError, UnknownRequest, Unsupported
from umad.infill.ghost import app_name
from umad.version import __version__

_log = logging.getLogger(__name__)
# JSON-RPC's numbers; the package has no names for these.
_INVALID_PARAMS, _INTERNAL = -32602, -32603


class UmadAgent:
    """The agent of one editor."""

    def __init__(self, client: AsyncClient, files: SessionFiles, asking: Asking) -> None:
        self._client, self._files, self._asking = client, files, asking
        self._editor: Client | None = None
        self._capabilities: schema.ClientCapabilities | None = None
        self._sessions: dict[str, Session] = {}
        self._running: dict[str, asyncio.Task[schema.StopReason]] = {}
        # A file is written by one prompt at a time: the next may end before the last is written.
        self._writing = asyncio.Lock()

    def on_connect(self, conn: Client) -> None:
        """The editor's end of the connection."""
        self._editor = conn

    async def initialize(
        self,
        protocol_version: int,
        client_capabilities: schema.ClientCapabilities | None = None,
        client_info: schema.Implementation | None = None,
        **_: Any,
    ) -> schema.InitializeResponse:
        """What this agent can do. An editor of another version decides whether it goes on."""
        self._capabilities = client_capabilities
        if client_info is not None:
            self._asking = replace(self._asking, app=app_name(client_info.name))
        senses = await senses_of(self._client, self._asking.model)
        return schema.InitializeResponse(
            protocol_version=PROTOCOL_VERSION,
            agent_capabilities=schema.AgentCapabilities(
                load_session=True,
                prompt_capabilities=schema.PromptCapabilities(
                    image="image" in senses, audio="audio" in senses, embedded_context=True
                ),
                session_capabilities=schema.SessionCapabilities(
                    list=schema.SessionListCapabilities()
                ),
            ),
            auth_methods=[],
            agent_info=schema.Implementation(name="umad", title="umad", version=__version__),
        )

    async def authenticate(self, method_id: str, **_: Any) -> schema.AuthenticateResponse:
        """Nothing to do: the socket belongs to this user."""
        return schema.AuthenticateResponse()

    async def new_session(
        self, cwd: str, mcp_servers: Any = None, **_: Any
    ) -> schema.NewSessionResponse:
        """Begin a conversation."""
        session = Session(cwd=_absolute(cwd))
        self._sessions[session.id] = session
        _note_servers(mcp_servers)
        return schema.NewSessionResponse(session_id=session.id, modes=_modes(session))

    async def load_session(
        self, cwd: str, session_id: str, mcp_servers: Any = None, **_: Any
    ) -> schema.LoadSessionResponse:
        """Take up an earlier conversation, and tell the editor what was said in it."""
        self._refuse_running(session_id)
        session = await self._read(session_id)
        session.cwd = _absolute(cwd)
        self._sessions[session.id] = session
        _note_servers(mcp_servers)
        await self._replay(session)
        return schema.LoadSessionResponse(modes=_modes(session))

    async def list_sessions(
        self, cwd: str | None = None, cursor: str | None = None, **_: Any
    ) -> schema.ListSessionsResponse:
        """Earlier conversations, the latest first."""
        found = await asyncio.to_thread(self._listed, cwd)
        return schema.ListSessionsResponse(sessions=found)

    async def set_session_mode(
        self, session_id: str, mode_id: str, **_: Any
    ) -> schema.SetSessionModeResponse:
        """What is asked before a tool acts. Which tools there are changes with the next prompt."""
        session = self._session(session_id)
        try:
            session.set_mode(mode_id)
        except BadRequest as error:
            raise _refused(error) from error
        await self._write(session)
        return schema.SetSessionModeResponse()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> schema.PromptResponse:
        """Answer what the user said."""
        session = self._session(session_id)
        self._refuse_running(session_id)
        assert self._editor is not None, "the connection comes before its first message"
        before = list(session.messages)
        try:
            session.say(*content_of(prompt))
        except UmadError as error:
            raise _refused(error) from error
        turn = Turn(
            client=self._client,
            editor=self._editor,
            session=session,
            tools=offered(self._capabilities, session.mode),
            asking=self._asking,
        )
        work = asyncio.ensure_future(turn.run())
        self._running[session_id] = work
        try:
            reason = await work
        except asyncio.CancelledError:
            own = asyncio.current_task()
            if own is not None and own.cancelling():
                raise  # the editor has gone
            reason = "cancelled"
        except UmadError as error:
            # A prompt without an answer, and one that cannot have any, would stand before all
            # later ones: a prompt that is too long would make each of them too long.
            if session.messages[-1].role == "user" or isinstance(error, BadRequest):
                session.messages[:] = before
            raise _refused(error) from error
        finally:
            del self._running[session_id]
            await self._write(session)
        return schema.PromptResponse(stop_reason=reason)

    async def cancel(self, session_id: str, **_: Any) -> None:
        """End the session's prompt; `prompt` answers with `cancelled`."""
        if (work := self._running.get(session_id)) is not None:
            work.cancel()

    # -- what they share -------------------------------------------------------------------------

    def _session(self, session_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise RequestError.resource_not_found(session_id)
        return session

    def _refuse_running(self, session_id: str) -> None:
        if session_id in self._running:
            raise RequestError(
                _INVALID_PARAMS, "this session's last prompt still runs: cancel it first"
            )

    async def _read(self, session_id: str) -> Session:
        try:
            return await asyncio.to_thread(self._files.read, session_id)
        except UnknownRequest as error:
            raise RequestError.resource_not_found(session_id) from error

    async def _write(self, session: Session) -> None:
        """A conversation that cannot be written down still goes on."""
        if not session.messages:
            return
        try:
            async with self._writing:
                await asyncio.to_thread(self._files.write, session)
        except OSError as error:
            _log.warning("session not written error=%s", error.strerror)

    def _listed(self, cwd: str | None) -> list[schema.SessionInfo]:
        found = []
        for id_ in self._files.names():
            try:
                session = self._files.read(id_)
            except UnknownRequest:
                continue
            if cwd is None or session.cwd == cwd:
                found.append(_info(session, self._files.written_s(id_)))
        return found

    async def _replay(self, session: Session) -> None:
        assert self._editor is not None, "the connection comes before its first message"
        results = {turn.tool_call_id: turn.content for turn in session.messages}
        for turn in session.messages:
            updates: list[Any] = []
            if turn.role == "user":
                updates.append(helpers.update_user_message_text(_shown(turn)))
            if turn.role == "assistant" and turn.reasoning:
                updates.append(helpers.update_agent_thought_text(turn.reasoning))
            if turn.role == "assistant" and turn.content:
                updates.append(helpers.update_agent_message_text(turn.content))
            for call in turn.tool_calls:
                text = helpers.text_block(results.get(call.id, ""))
                updates.append(
                    helpers.start_tool_call(
                        call.id or "call",
                        call.name,
                        status="completed",
                        content=[helpers.tool_content(text)],
                    )
                )
            for update in updates:
                await self._editor.session_update(session.id, update)


def _shown(turn: ChatMessage) -> str:
    """What the user said, with a word in the place of each file."""
    pieces = pieces_of(turn.content, turn.media)
    return "".join(one if isinstance(one, str) else f"[{MEDIA_NAMES[one.kind]}]" for one in pieces)


def _modes(session: Session) -> schema.SessionModeState:
    known = [schema.SessionMode(id=id_, name=name, description=what) for id_, name, what in MODES]
    if session.mode not in [mode.id for mode in known]:  # a file of another version
        session.mode = ASK
    return schema.SessionModeState(current_mode_id=session.mode, available_modes=known)


def _info(session: Session, written_s: float | None) -> schema.SessionInfo:
    when = None if written_s is None else datetime.fromtimestamp(written_s, UTC).isoformat()
    return schema.SessionInfo(
        session_id=session.id, cwd=session.cwd, title=session.title or None, updated_at=when
    )


def _absolute(cwd: str) -> str:
    if not cwd.startswith("/"):
        raise RequestError(_INVALID_PARAMS, "cwd must be an absolute path")
    return cwd


def _note_servers(servers: Any) -> None:
    if servers:
        _log.warning("tools of MCP servers are not offered servers=%d", len(servers))


def _refused(error: UmadError) -> RequestError:
    """The one mapping from umad's errors to the protocol's."""
    is_theirs = isinstance(error, BadRequest | Unsupported)
    number = _INVALID_PARAMS if is_theirs else _INTERNAL
    data: Mapping[str, Any] = {"code": error.code, "retryable": error.retryable}
    return RequestError(number, error.message, dict(data))
