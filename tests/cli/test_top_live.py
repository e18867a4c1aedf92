"""`umad top` and a real daemon: on a real terminal, and where there is none."""

import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.cli.conftest import Fakes, Umad
from tests.cli.test_run import LONG, first_tokens
from tests.cli.test_running import Spawn
from tests.cli.top_states import card, felt, model, request

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
# What a terminal obeys and does not show: CSI, strings (OSC, DCS), and single ones.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9;?>=!]*[ -/]*[@-~]|[P\]_^X].*?(?:\x1b\\|\x07)|[=>78NOcDEHM])", re.DOTALL
)


@contextmanager
def terminal(fakes: Fakes, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`umad top` on a pseudo-terminal of 80 by 24, and our end of that."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "umad", "top"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "UMAD_SOCKET": str(fakes.socket), "TERM": "xterm", **variables},
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait(timeout=30)
        os.close(ours)


def read_until(ours: int, *wanted: str) -> str:
    """What the terminal got, until all of `wanted` was among it."""
    got = b""
    while True:
        text = _ESCAPES.sub("", got.decode("utf-8", "replace"))
        if all(one in text for one in wanted):
            return text
        ready, _, _ = select.select([ours], [], [], PATIENCE_S)
        assert ready, f"the terminal never got {wanted}, but {text[-2000:]!r}"
        try:
            got += os.read(ours, 2**16)
        except OSError:  # the other end has closed
            raise AssertionError(f"it ended before {wanted} came: {text[-2000:]!r}") from None


def test_on_a_terminal_it_shows_what_runs_and_q_gives_the_terminal_back(
    fakes: Fakes, spawn: Spawn
) -> None:
    request_name = first_tokens(spawn("run", "hello", "--json", *LONG))

    with terminal(fakes) as (process, ours):
        read_until(ours, "ENGINE", "tok/s", request_name)
        os.write(ours, b"q")
        code = process.wait(timeout=PATIENCE_S)

    assert code == 0


def test_without_colour_it_sends_none(fakes: Fakes) -> None:
    with terminal(fakes, NO_COLOR="1") as (process, ours):
        ready, _, _ = select.select([ours], [], [], PATIENCE_S)
        assert ready
        got = b""
        while b"ENGINE" not in got:
            assert select.select([ours], [], [], PATIENCE_S)[0]
            got += os.read(ours, 2**16)
        os.write(ours, b"q")
        assert process.wait(timeout=PATIENCE_S) == 0

    # SGR with a colour: 30-37, 38;…, 40-47, 48;…, 90-97, 100-107. Reverse and bold are none.
    for codes in re.findall(rb"\x1b\[([0-9;]*)m", got):
        for code in codes.split(b";"):
            assert not re.fullmatch(rb"3[0-8]|4[0-8]|9[0-7]|10[0-7]", code), codes


def test_a_signal_ends_it_and_the_terminal_is_left_as_it_was(fakes: Fakes) -> None:
    with terminal(fakes) as (process, ours):
        read_until(ours, "ENGINE")
        process.terminate()
        code = process.wait(timeout=PATIENCE_S)
        after = termios.tcgetattr(ours)

    assert code == 0
    # As a new one is: what it shows is typed, and lines come whole.
    assert after[3] & termios.ECHO
    assert after[3] & termios.ICANON


def test_where_there_is_no_terminal_it_says_what_to_use_instead(asking: Umad) -> None:
    ended = asking("top")

    assert ended.code == 2
    assert "top needs a terminal; umad ps and umad metrics do not." in ended.err
    assert ended.out == ""


def test_a_terminal_that_cannot_move_its_cursor_is_told_so(fakes: Fakes) -> None:
    with terminal(fakes, TERM="dumb") as (process, ours):
        read_until(ours, "cannot move its cursor")
        assert process.wait(timeout=PATIENCE_S) == 2


def test_without_a_daemon_it_is_3_and_nothing_is_drawn(fakes: Fakes, tmp_path: Path) -> None:
    with terminal(fakes, UMAD_SOCKET=str(tmp_path / "none.sock")) as (process, ours):
        text = read_until(ours, "no daemon listens")
        assert process.wait(timeout=PATIENCE_S) == 3

    assert "ENGINE" not in text


def test_the_recorded_states_have_the_keys_of_a_real_daemons_answers(
    asking: Umad, spawn: Spawn
) -> None:
    first_tokens(spawn("run", "hello", "--json", *LONG))

    listed = json.loads(asking("ps", "--json").out)
    told = json.loads(asking("metrics", "--json").out)

    assert set(request("r", "a", "l")) <= set(listed["sessions"][0])
    assert set(model("m")) - {"n_cells"} <= set(listed["models"][0])
    assert set(card()) <= set(told)
    for app in told["apps"].values():
        assert set(felt()) <= set(app)


@pytest.mark.parametrize("module", ["umad", "umad.daemon.server", "umad.cli.app", "umad.client"])
def test_textual_is_imported_by_nothing_but_top(module: str) -> None:
    program = f"import sys, {module}; print([n for n in sys.modules if n.startswith('textual')])"

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
