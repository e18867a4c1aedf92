"""Runs the agent's process: one editor over stdin and stdout, until it closes stdin."""

import asyncio
import os
import sys
from typing import cast

from acp import Agent, run_agent

from umad.acp.agent import UmadAgent
from umad.acp.sessions import SessionFiles, session_folder
from umad.acp.turn import Asking
from umad.client import AsyncClient, ClientOptions

_OPTIONS = ClientOptions(name="umad-acp")
# A prompt may have whole files in it.
_LINE_BYTES = 50 * 2**20


def serve(socket: str | None, *, model: str | None, lane: str | None) -> None:
    """Serve the editor to its end."""
    asyncio.run(_serve(socket, Asking(model=model, lane=lane)))


async def _serve(socket: str | None, asking: Asking) -> None:
    client = AsyncClient(socket, options=_OPTIONS)
    files = SessionFiles(session_folder(os.environ, sys.platform))
    reader, writer = await _streams()
    try:
        # What it does not have, the package answers with "method not found".
        await run_agent(cast(Agent, UmadAgent(client, files, asking)), writer, reader)
    finally:
        await client.close()


async def _streams() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The editor's streams, as copies: the command line closes its own by itself. Whatever else
    writes to stdout must not reach the editor.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    source = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    target = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), target
    )
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)
