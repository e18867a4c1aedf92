"""Runs the agent's process: one editor over stdin and stdout, until it closes stdin."""

import asyncio
import os
import sys
from typing import cast

from acp import Agent, run_agent

from umad.acp.agent import UmadAgent
from umad.acp.lines import LINE_BYTES, EditorLines
from umad.acp.sessions import SessionFiles, session_folder
from umad.acp.turn import Asking
from umad.client import AsyncClient, ClientOptions
from umad.standard_streams import give_back, take_standard_streams

_OPTIONS = ClientOptions(name="umad-acp")


def serve(socket: str | None, *, model: str | None, lane: str | None) -> None:
    """Serve the editor to its end."""
    asyncio.run(_serve(socket, Asking(model=model, lane=lane)))


async def talk(
    agent: UmadAgent, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve the editor at the other end of these streams, until it closes them."""
    # What the agent does not have, the package answers with "method not found".
    await run_agent(cast(Agent, agent), EditorLines(reader, writer))


async def _serve(socket: str | None, asking: Asking) -> None:
    client = AsyncClient(socket, options=_OPTIONS)
    files = SessionFiles(session_folder(os.environ, sys.platform))
    reader, writer = await take_standard_streams(LINE_BYTES)
    try:
        await talk(UmadAgent(client, files, asking), reader, writer)
    finally:
        await client.close()
        await give_back(writer)
