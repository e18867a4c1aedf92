"""Speaks with HAProxy's admin socket.

One connection serves one call, in HAProxy's interactive mode: it answers each command and then
prints its prompt, so the answer of each command is known. Commands joined by `;` in one line would
be answered all together, and nobody could say which of them was refused.
Owner: the router's event loop. Each call ends within its bound, and holds no lock meanwhile: two
calls are two connections.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final

from umad.errors import ProxyFailed
from umad.router.haproxy.answers import refusal_of

# A line of the prompt ends each answer. No answer has such a line itself: those of tables and maps
# begin with an address in memory, and the others with words.
_PROMPT: Final = b"\n> "
# A table of a million sessions, 130 bytes each.
_MOST_ANSWER_BYTES = 256 << 20


class AdminSocket:
    """The admin socket of one HAProxy."""

    def __init__(self, path: str, *, within_s: float = 10.0) -> None:
        self._path = path
        self._within_s = within_s

    async def ask(self, line: str) -> str:
        """The answer to a command that shows something. Raises ProxyFailed where HAProxy is gone or
        too slow."""
        return (await self._answers((line,)))[0]

    async def tell(self, lines: Iterable[str]) -> None:
        """Give commands, one after another. Raises ProxyFailed with the first that is refused;
        those after it were not given."""
        await self._answers(lines, stop_at_refusal=True)

    async def try_all(self, lines: Iterable[str]) -> list[str]:
        """Give all commands, whatever becomes of each; what was refused, as sentences."""
        lines = tuple(lines)
        answers = await self._answers(lines)
        return [
            f"{_shown(line)}: {refusal}"
            for line, answer in zip(lines, answers, strict=True)
            if (refusal := refusal_of(line, answer))
        ]

    async def is_there(self) -> bool:
        """Whether anybody listens there: one that is slow, or refuses something, does."""
        try:
            async with asyncio.timeout(self._within_s):
                _, writer = await asyncio.open_unix_connection(self._path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except (OSError, TimeoutError):
            return True
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    async def _answers(self, lines: Iterable[str], *, stop_at_refusal: bool = False) -> list[str]:
        try:
            async with asyncio.timeout(self._within_s):
                return await self._talk(lines, stop_at_refusal=stop_at_refusal)
        except TimeoutError:
            raise ProxyFailed(
                f"HAProxy did not answer within {self._within_s:g} s at {self._path}"
            ) from None
        except (OSError, EOFError) as error:
            raise ProxyFailed(f"no HAProxy answers at {self._path}: {_why(error)}") from error

    async def _talk(self, lines: Iterable[str], *, stop_at_refusal: bool) -> list[str]:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=_MOST_ANSWER_BYTES)
        try:
            writer.write(b"prompt\n")
            await reader.readuntil(_PROMPT)
            answers = []
            for line in lines:
                if "\n" in line:
                    raise ProxyFailed(f"{_shown(line)} is more than one command")
                writer.write(line.encode() + b"\n")
                answer = (await reader.readuntil(_PROMPT))[: -len(_PROMPT)].decode()
                refusal = refusal_of(line, answer) if stop_at_refusal else ""
                if refusal:
                    raise ProxyFailed(f"HAProxy refuses {_shown(line)}: {refusal}")
                answers.append(answer)
            return answers
        except asyncio.LimitOverrunError:
            raise ProxyFailed(
                f"HAProxy's answer is more than {_MOST_ANSWER_BYTES >> 20} MiB"
            ) from None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _why(error: OSError | EOFError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it closed the connection"


def _shown(line: str) -> str:
    """A command in an error: its words up to what may be long."""
    return " ".join(line.split()[:4])[:120]
