"""An editor whose every answer a test decides, and umad's agent before it. Not a test."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socketpair
from typing import Any, cast

from acp import Client, RequestError, connect_to_agent, schema, spawn_agent_process
from acp.client.connection import ClientSideConnection

from umad.acp.agent import UmadAgent
from umad.acp.serving import talk
from umad.acp.sessions import SessionFiles
from umad.acp.turn import Asking
from umad.client import AsyncClient

ALL = schema.ClientCapabilities(
    fs=schema.FileSystemCapabilities(read_text_file=True, write_text_file=True), terminal=True
)


class Editor:
    """The client's side: files in memory, and permissions as the test says."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.updates: list[Any] = []
        self.asked: list[Any] = []
        self.commands: list[list[str]] = []
        self.released: list[str] = []
        # The option chosen at each question; None ends the turn. Empty: nobody answers.
        self.answers: list[str | None] = []
        self.is_asked = asyncio.Event()
        self.reads: list[str] = []
        # How terminals are made and given back, where not at once; an event says when one is made.
        self.may_make: asyncio.Event | None = None
        self.is_making, self.is_released = asyncio.Event(), asyncio.Event()
        self.has_lost_terminals = False
        # Commands do not end by themselves.
        self.runs_on = False
        # What a command writes, and whether the terminal has kept only its end.
        self.printed, self.is_cut = "done\n", False

    def on_connect(self, conn: Any) -> None:
        """Nothing to keep: tests have the connection."""

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.updates.append(update)

    async def request_permission(
        self, session_id: str, tool_call: Any, options: Any, **_: Any
    ) -> schema.RequestPermissionResponse:
        self.asked.append(tool_call)
        self.is_asked.set()
        if not self.answers:
            await asyncio.get_running_loop().create_future()
        chosen = self.answers.pop(0)
        if chosen is None:
            return schema.RequestPermissionResponse(
                outcome=schema.DeniedOutcome(outcome="cancelled")
            )
        assert chosen in [option.option_id for option in options]
        return schema.RequestPermissionResponse(
            outcome=schema.AllowedOutcome(outcome="selected", option_id=chosen)
        )

    async def read_text_file(
        self, session_id: str, path: str, line: Any = None, limit: Any = None, **_: Any
    ) -> schema.ReadTextFileResponse:
        self.reads.append(path)
        if path not in self.files:
            raise RequestError.resource_not_found(path)
        return schema.ReadTextFileResponse(content=self.files[path])

    async def write_text_file(self, session_id: str, path: str, content: str, **_: Any) -> None:
        self.files[path] = content

    async def create_terminal(
        self, session_id: str, command: str, args: Any = None, **_: Any
    ) -> schema.CreateTerminalResponse:
        self.commands.append([command, *(args or ())])
        self.is_making.set()
        if self.may_make is not None:
            await self.may_make.wait()
        return schema.CreateTerminalResponse(terminal_id="t1")

    async def wait_for_terminal_exit(
        self, session_id: str, terminal_id: str, **_: Any
    ) -> schema.WaitForTerminalExitResponse:
        if self.runs_on:
            await asyncio.get_running_loop().create_future()
        return schema.WaitForTerminalExitResponse(exit_code=0)

    async def terminal_output(
        self, session_id: str, terminal_id: str, **_: Any
    ) -> schema.TerminalOutputResponse:
        return schema.TerminalOutputResponse(output=self.printed, truncated=self.is_cut)

    async def release_terminal(self, session_id: str, terminal_id: str, **_: Any) -> None:
        self.released.append(terminal_id)
        self.is_released.set()
        if self.has_lost_terminals:
            raise RequestError.resource_not_found(terminal_id)

    def said(self, kind: str = "agent_message_chunk") -> str:
        """The text of all updates of this kind."""
        found = [one for one in self.updates if one.session_update == kind]
        return "".join(one.content.text for one in found)

    def statuses(self) -> list[str]:
        """How the calls went."""
        return [
            one.status
            for one in self.updates
            if one.session_update in ("tool_call", "tool_call_update") and one.status
        ]


@asynccontextmanager
async def agent(
    editor: Editor, socket: str, home: Path, capabilities: schema.ClientCapabilities = ALL
) -> AsyncIterator[ClientSideConnection]:
    """The agent at the other end of a pair of sockets, initialized. It costs no process."""
    ours, theirs = socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    agents_reader, agents_writer = await asyncio.open_connection(sock=theirs)
    client = AsyncClient(socket)
    made = UmadAgent(client, SessionFiles(home / "umad" / "acp"), Asking(model=None, lane=None))
    serving = asyncio.ensure_future(talk(made, agents_reader, agents_writer))
    connection = connect_to_agent(cast(Client, editor), writer, reader)
    try:
        await connection.initialize(
            protocol_version=1,
            client_capabilities=capabilities,
            client_info=schema.Implementation(name="some-editor", version="1"),
        )
        yield connection
    finally:
        await connection.close()
        writer.close()
        await serving
        agents_writer.close()
        await client.close()


@asynccontextmanager
async def agent_process(
    editor: Editor, socket: str, home: Path
) -> AsyncIterator[ClientSideConnection]:
    """`umad acp` as an editor starts it."""
    environ = {**os.environ, "XDG_STATE_HOME": str(home)}
    async with spawn_agent_process(
        cast(Client, editor),
        *(sys.executable, "-m", "umad", "acp", "--socket", socket),
        env=environ,
    ) as (connection, _):
        await connection.initialize(protocol_version=1, client_capabilities=ALL)
        yield connection
