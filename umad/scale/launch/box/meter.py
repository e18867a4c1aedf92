"""Counts tokens by key inside vLLM's server, as its ASGI middleware (`--middleware meter.Meter`).

HAProxy has looked at the key and names it in `x-umad-key`. An answer's usage is read from its end:
the last `"usage"` of the body or stream, in OpenAI's or Anthropic's names. `GET /umad/usage` tells
the sums, those of all server processes together: each writes a file of its own. Answers that their
clients cut have no usage, and are not counted here; the engine's own counters have them.

The standard library of Python 3.10 alone. No text of a request or an answer is kept. Owner: the
server's event loop.
"""

import json
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

_Map = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Map]]
_Send = Callable[[_Map], Awaitable[None]]
_App = Callable[[_Map, _Receive, _Send], Awaitable[None]]
# Usage stands at the end; what comes before is not looked at.
_TAIL_BYTES = 1 << 16
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_NAMES = {
    "prompt_tokens": "prompt", "input_tokens": "prompt",
    "completion_tokens": "completion", "output_tokens": "completion",
}  # fmt: skip
USAGE_PATH = "/umad/usage"


class Meter:
    """The middleware."""

    def __init__(self, app: _App) -> None:
        self._app = app
        self._folder = Path(os.environ.get("UMAD_USAGE_FOLDER", "usage"))
        self._sums: dict[str, dict[str, int]] = {}

    async def __call__(self, scope: _Map, receive: _Receive, send: _Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == USAGE_PATH:
            await self._tell(send)
        else:
            await self._count(scope, receive, send)

    async def _count(self, scope: _Map, receive: _Receive, send: _Send) -> None:
        key = dict(scope["headers"]).get(b"x-umad-key", b"none").decode("latin-1")
        tail = bytearray()

        async def passed(message: _Map) -> None:
            if message["type"] == "http.response.body":
                tail.extend(message.get("body", b""))
                del tail[:-_TAIL_BYTES]
                if not message.get("more_body"):
                    self._add(key, usage_of(bytes(tail)))
            await send(message)

        await self._app(scope, receive, passed)

    def _add(self, key: str, found: dict[str, int]) -> None:
        if not found:
            return
        sums = self._sums.setdefault(key, {"requests": 0, "prompt": 0, "completion": 0})
        sums["requests"] += 1
        for name, tokens in found.items():
            sums[name] += tokens
        self._folder.mkdir(parents=True, exist_ok=True)
        half = self._folder / f"{os.getpid()}.half"
        half.write_text(json.dumps(self._sums))
        half.replace(self._folder / f"{os.getpid()}.json")

    async def _tell(self, send: _Send) -> None:
        total: dict[str, dict[str, int]] = {}
        for path in sorted(self._folder.glob("*.json")):
            try:
                one = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            for key, sums in one.items():
                into = total.setdefault(key, dict.fromkeys(sums, 0))
                for name, value in sums.items():
                    into[name] += value
        body = json.dumps({"keys": total}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def usage_of(tail: bytes) -> dict[str, int]:
    """Tokens of the last usage in the end of a body; empty where there is none."""
    for match in reversed(list(_USAGE.finditer(tail))):
        text = tail[match.end() :].decode("utf-8", "replace")
        try:
            found, _ = json.JSONDecoder().raw_decode(text)
        except ValueError:
            continue
        counted: dict[str, int] = {}
        for name, value in found.items():
            if name in _NAMES and isinstance(value, int) and not isinstance(value, bool):
                counted[_NAMES[name]] = max(0, value)
        if counted:
            return counted
    return {}
