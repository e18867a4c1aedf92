"""Runs a command line in a terminal of the editor; a command ends with the turn that began it.

Not: whether it may run (`umad.acp.tools`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from acp import Client, schema
from acp.exceptions import RequestError
from pydantic import ValidationError

# An editor refuses, or answers in a form that is not the protocol's.
REFUSALS = (RequestError, ValidationError)
_SHELL = "/bin/sh"
# Terminals that a cancelled turn still waits for, so that they end: nobody else keeps them.
_ending: set["asyncio.Task[None]"] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A command that has ended."""

    output: str
    # The editor keeps so much and no more: it has left out the beginning.
    is_cut: bool
    # "exit code 0", or a signal.
    how: str
    is_good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminals:
    """The terminals of one session."""

    editor: Client
    session_id: str
    cwd: str
    most_bytes: int

    async def run(self, command: str, show: Callable[[str], Awaitable[None]]) -> Ended:
        """Run a command line by /bin/sh to its end. show: is told the terminal's id."""
        terminal = await self._made(command)
        try:
            await show(terminal)
            ended = await self.editor.wait_for_terminal_exit(self.session_id, terminal)
            said = await self.editor.terminal_output(self.session_id, terminal)
        finally:
            # Also where the turn was cancelled: it ends what still runs.
            await self._release(terminal)
        code, signal = ended.exit_code, ended.signal
        how = f"exit code {code}" if signal is None else f"signal {signal}"
        return Ended(output=said.output, is_cut=said.truncated, how=how, is_good=code == 0)

    async def _made(self, command: str) -> str:
        """The id of a terminal in which the command runs. Where the turn is cancelled before the
        editor has answered, the command runs all the same: it is ended once its terminal is known.
        """
        making = asyncio.ensure_future(
            self.editor.create_terminal(
                self.session_id,
                _SHELL,
                args=["-c", command],
                cwd=self.cwd,
                output_byte_limit=self.most_bytes,
            )
        )
        try:
            return (await asyncio.shield(making)).terminal_id
        except asyncio.CancelledError:
            ending = asyncio.ensure_future(self._release_late(making))
            _ending.add(ending)
            ending.add_done_callback(_ending.discard)
            raise

    async def _release_late(self, making: "asyncio.Task[schema.CreateTerminalResponse]") -> None:
        try:
            made = await making
        except (*REFUSALS, ConnectionError):
            return
        await self._release(made.terminal_id)

    async def _release(self, terminal: str) -> None:
        """A terminal that the editor has closed already is no failure, and an error here would
        take the place of a cancellation.
        """
        try:
            await self.editor.release_terminal(self.session_id, terminal)
        except (*REFUSALS, ConnectionError):
            return
