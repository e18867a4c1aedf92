"""Carries out one prompt: the model answers, calls tools and reads their results, until it ends.

What the conversation has at the end can always go on: a call has its result, also where the user
ended the turn. Not: the tools themselves (`umad.acp.tools`), nor the protocol's methods.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from acp import Client, helpers, schema

from umad.acp.sessions import Session
from umad.acp.tools import PermissionCancelled, Toolbox
from umad.chat.events import Content, Reasoning
from umad.client import AsyncClient
from umad.client.chats import ChatResult
from umad.conversation import ChatMessage, Tool, ToolCall
from umad.errors import ConnectionLost

# Answers of the model to one prompt, each of which may call tools. A loop of a confused model ends.
MAX_ANSWERS = 40
_UNANSWERED = "The user ended the turn before this had a result."
_SYSTEM = """You are a coding agent in the user's editor. The project's folder is {cwd}.
Use the tools to read before you write, and to look at what your change did. Be short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Whom a session's prompts are for."""

    # As a person writes it; None for the daemon's first.
    model: str | None
    # None lets the daemon's rules decide.
    lane: str | None
    # What the editor calls itself; None for this process's name.
    app: str | None = None


class Turn:
    """One prompt of a session."""

    def __init__(
        self,
        *,
        client: AsyncClient,
        editor: Client,
        session: Session,
        tools: Sequence[Tool],
        asking: Asking,
    ) -> None:
        self._client, self._editor, self._session = client, editor, session
        self._tools, self._asking = tuple(tools), asking
        self._toolbox = Toolbox(editor, session, tools)
        self._said: list[str] = []

    async def run(self) -> schema.StopReason:
        """To its end. Raises the `UmadError` that the daemon answered with."""
        try:
            return await self._run()
        except PermissionCancelled:
            return "cancelled"
        finally:
            if self._said:  # an answer that was not finished
                self._session.messages.append(
                    ChatMessage(role="assistant", content="".join(self._said))
                )
            self._session.close_calls(_UNANSWERED)

    async def _run(self) -> schema.StopReason:
        for _ in range(MAX_ANSWERS):
            result = await self._answer()
            self._session.messages.append(result.turn)
            if result.finish_reason == "cancelled":  # by somebody else, at the daemon
                return "cancelled"
            if not result.tool_calls:
                return "max_tokens" if result.finish_reason == "length" else "end_turn"
            for call in result.tool_calls:
                self._session.messages.append(await self._result(call))
        return "max_turn_requests"

    async def _answer(self) -> ChatResult:
        """One answer of the model, told to the editor while it comes."""
        session = self._session
        pieces = self._client.stream(
            self._turns(),
            tools=self._tools or None,
            model=self._asking.model,
            lane=self._asking.lane,
            app=self._asking.app,
            session=session.kept_as,
            fit=True,
        )
        async with aclosing(pieces):
            async for piece in pieces:
                match piece:
                    case Content():
                        self._said.append(piece.text)
                        update = helpers.update_agent_message_text(piece.text)
                        await self._editor.session_update(session.id, update)
                    case Reasoning():
                        thought = helpers.update_agent_thought_text(piece.text)
                        await self._editor.session_update(session.id, thought)
                    case ToolCall():
                        pass  # the result has all of them
                    case ChatResult():
                        self._said.clear()
                        return piece
        raise ConnectionLost("the answer has no end")

    def _turns(self) -> list[ChatMessage]:
        if not self._tools:
            return self._session.messages
        told = _SYSTEM.format(cwd=self._session.cwd)
        return [ChatMessage(role="system", content=told), *self._session.messages]

    async def _result(self, call: ToolCall) -> ChatMessage:
        text = await self._toolbox.call(call)
        return ChatMessage(role="tool", content=text, tool_call_id=call.id, name=call.name)
