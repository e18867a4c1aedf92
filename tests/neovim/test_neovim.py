"""Neovim itself, with the lines that docs/editors.md gives, before a daemon on the model that
ships: `make neovim-test`.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live import live_daemon, wait_until
from tests.neovim.nvim import INLINE_SINCE, Neovim, neovim, version

FOUND = version()
PATIENCE_S = 90.0
PAGE = Path(__file__).parents[2] / "docs" / "editors.md"
FILE = "def add(first, second):\n    return first + second\n\n\ndef sub(first, second):\n"
# Neovim is attached to the language server, and asks it from the next key on.
LISTENS = "return #vim.api.nvim_get_autocmds({event = 'CursorMovedI', buffer = 0}) > 0"

pytestmark = [
    pytest.mark.skipif(
        FOUND is None or FOUND < INLINE_SINCE,
        reason=f"needs Neovim {'.'.join(map(str, INLINE_SINCE))}, and found {FOUND}",
    ),
    pytest.mark.timeout(300),
]


def recipe() -> str:
    """The first Lua of the page's part on Neovim."""
    part = PAGE.read_text().split("\n## Neovim\n")[1]
    found = re.search(r"```lua\n(.*?)```", part, re.DOTALL)
    assert found is not None
    return found[1]


@contextmanager
def editing(folder: Path, socket: Path) -> Iterator[Neovim]:
    """A Neovim in a file of a project, its cursor at the end."""
    (folder / ".git").mkdir()
    (folder / "f.py").write_text(FILE)
    programs = Path(sys.executable).parent
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "UMAD_SOCKET": str(socket),
    }
    with neovim(folder, recipe(), environment) as editor:
        editor.keys(":edit f.py<CR>G")
        wait_until(lambda: editor.lua(LISTENS), within_s=PATIENCE_S, what="the server's start")
        yield editor


def sees_grey_text(editor: Neovim) -> str:
    wait_until(lambda: editor.grey_text() != "", within_s=PATIENCE_S, what="grey text")
    return editor.grey_text()


def test_grey_text_appears_as_a_line_is_typed_and_tab_takes_it(short_tmp_path: Path) -> None:
    with (
        live_daemon(short_tmp_path, "nano") as daemon,
        editing(short_tmp_path, daemon.socket) as editor,
    ):
        editor.keys("o    return ")
        grey = sees_grey_text(editor)
        before = editor.text()
        editor.keys("<Tab>")
        wait_until(lambda: editor.text() != before, what="the text's being taken")
        editor.keys("<Esc>:write<CR>")
        wait_until(lambda: (short_tmp_path / "f.py").read_text() != FILE, what="the file")

        assert editor.messages() == ""
        assert (short_tmp_path / "f.py").read_text() == f"{before}{grey}\n"


def test_a_tab_without_grey_text_is_a_tab(short_tmp_path: Path) -> None:
    with editing(short_tmp_path, short_tmp_path / "nobody.sock") as editor:
        editor.keys("o<Tab>x")
        wait_until(lambda: editor.text().endswith("x"), what="the keys")

        # Neovim indents the body itself, and a tab in Python is four spaces more.
        assert editor.text() == f"{FILE}{' ' * 8}x"


def test_without_a_daemon_nothing_is_said_and_with_the_next_one_grey_text_is_back(
    short_tmp_path: Path,
) -> None:
    with editing(short_tmp_path, short_tmp_path / "u.sock") as editor:
        editor.keys("o    return fir")
        wait_until(lambda: editor.text().endswith("fir"), what="the keys")
        with live_daemon(short_tmp_path, "nano") as daemon:
            editor.keys("st ")
            sees_grey_text(editor)
            daemon.process.kill()
            daemon.process.wait()
        editor.keys("<Esc>")
        wait_until(lambda: editor.grey_text() == "", what="the grey text's end")

        with live_daemon(short_tmp_path, "nano"):
            editor.keys("A + ")
            assert sees_grey_text(editor)

        assert editor.messages() == ""
