"""A Neovim without a terminal, told what to do over its own protocol (msgpack-rpc on stdin and
stdout, `:help rpc`). Not a test. Owner: the test that opened it.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgpack

PROGRAM = shutil.which(os.environ.get("NEOVIM", "nvim"))
# From this one on it asks language servers for inline completions.
INLINE_SINCE = (0, 12)
_VERSION_S = 30.0
_STOP_S = 30.0
_PIECE_BYTES = 65_536
_RESPONSE = 1
# What grey text is drawn with: text that stands in no line.
_GREY = """
local lines = {}
for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, -1, 0, -1, {details = true})) do
  local drawn = mark[4]
  for _, line in ipairs({drawn.virt_text or {}, unpack(drawn.virt_lines or {})}) do
    local pieces = {}
    for _, piece in ipairs(line) do pieces[#pieces + 1] = piece[1] end
    lines[#lines + 1] = table.concat(pieces)
  end
end
return table.concat(lines, "\\n")
"""


def version() -> tuple[int, int] | None:
    """Of the program; None where there is none."""
    if PROGRAM is None:
        return None
    told = subprocess.run(
        [PROGRAM, "--version"], capture_output=True, text=True, check=True, timeout=_VERSION_S
    )
    words = told.stdout.split()[1].lstrip("v")
    major, minor = words.split(".")[:2]
    return int(major), int(minor)


class NeovimError(Exception):
    """What Neovim answered with, or that it ended."""


class Neovim:
    """One that runs. A call blocks until it is answered."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._heard = msgpack.Unpacker(raw=False, strict_map_key=False)
        self._numbers = count()

    def call(self, method: str, *arguments: object) -> Any:
        """Its answer. Raises `NeovimError`."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        self._process.stdin.write(msgpack.packb([0, number, method, arguments]))
        self._process.stdin.flush()
        while True:
            kind, *rest = self._next()
            if kind == _RESPONSE and rest[0] == number:
                _, error, result = rest
                if error is not None:
                    raise NeovimError(f"{method}: {error}")
                return result

    def keys(self, text: str) -> None:
        """Type them, as a user: `<Tab>` is a key."""
        self.call("nvim_input", text)

    def lua(self, program: str) -> Any:
        """What a program returns."""
        return self.call("nvim_exec_lua", program, [])

    def grey_text(self) -> str:
        """What is drawn beside the text, line by line."""
        return str(self.lua(_GREY))

    def text(self) -> str:
        """The buffer's lines."""
        return "\n".join(self.call("nvim_buf_get_lines", 0, 0, -1, True))

    def messages(self) -> str:
        """What it has shown at the bottom of the screen."""
        return str(self.call("nvim_exec2", "messages", {"output": True})["output"])

    def _next(self) -> list[Any]:
        assert self._process.stdout is not None
        for message in self._heard:
            return list(message)
        piece = os.read(self._process.stdout.fileno(), _PIECE_BYTES)
        if not piece:
            raise NeovimError("it ended")
        self._heard.feed(piece)
        return self._next()


@contextmanager
def neovim(folder: Path, configuration: str, environment: Mapping[str, str]) -> Iterator[Neovim]:
    """One with this configuration in Lua, in `folder`, and with nothing of the developer's own."""
    assert PROGRAM is not None
    (folder / "init.lua").write_text(configuration)
    own = {f"XDG_{name}_HOME": str(folder / name) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    process = subprocess.Popen(
        [PROGRAM, "--embed", "--headless", "-n", "-u", str(folder / "init.lua")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, **own, "HOME": str(folder), **environment},
    )
    try:
        yield Neovim(process)
    finally:
        process.terminate()
        process.communicate(timeout=_STOP_S)
