"""Draws the command `umad top` on a daemon with nano, as a terminal shows it, into a folder: idle,
under a mixed load, about who slows an app, and while an engine is started again.

`make top-pictures` runs it for the documentation. The terminal is tmux, 80 by 24. Figures are those
of the machine that draws. Not a test; `tests/cli/top_pictures.py` draws recorded states, for tests.
"""

import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.cli.top_pictures import without_addresses
from tests.live import LiveDaemon, live_daemon, wait_until
from umad.client import Client
from umad.request import BACKGROUND, INTERACTIVE

COLUMNS, ROWS = 80, 24
PATIENCE_S = 300.0
# Two of the five apps wait for a place.
MAX_SEQS = 3
APPS = (
    ("editor", INTERACTIVE, 40),
    ("chat", INTERACTIVE, 300),
    ("indexer", BACKGROUND, 1500),
    ("nightly-report", BACKGROUND, 1500),
    ("git", BACKGROUND, 1500),
)


@dataclass(frozen=True, slots=True)
class Screen:
    """A terminal in which a command runs."""

    server: str

    def keys(self, *names: str) -> None:
        """Press keys, by tmux's names for them."""
        self._tmux("send-keys", *names)

    def shows(self, *texts: str) -> bool:
        """Whether all of these texts are on the screen now."""
        seen = self._tmux("capture-pane", "-p")
        return all(one in seen for one in texts)

    def picture(self, name: str) -> str:
        """What is on the screen now, as SVG."""
        lines = self._tmux("capture-pane", "-p", "-e").splitlines()[:ROWS]
        console = Console(
            width=COLUMNS,
            record=True,
            file=io.StringIO(),
            force_terminal=True,
            legacy_windows=False,
        )
        for line in lines:
            console.print(Text.from_ansi(line), soft_wrap=True)
        return without_addresses(console.export_svg(title="umad top", unique_id=name))

    def _tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-u", "-L", self.server, *words],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
            timeout=60,
        ).stdout


@contextmanager
def terminal(command: str) -> Iterator[Screen]:
    """A terminal that runs `command`, of a tmux of its own."""
    server = f"umad-top-{os.getpid()}"
    start = ["tmux", "-u", "-L", server, "-f", os.devnull, "new-session", "-d"]
    subprocess.run([*start, "-x", str(COLUMNS), "-y", str(ROWS), command], check=True, timeout=60)
    try:
        yield Screen(server)
    finally:
        subprocess.run(["tmux", "-L", server, "kill-server"], check=False, timeout=60)


@contextmanager
def load(daemon: LiveDaemon) -> Iterator[None]:
    """Apps that ask again and again, until the `with` is left."""
    closing = threading.Event()

    def ask(app: str, lane: str, tokens: int) -> None:
        with Client(daemon.socket) as client:
            while not closing.is_set():
                asked = client.text(
                    f"# {app}\n", app=app, lane=lane, max_tokens=tokens, ignore_eos=True, fit=True
                )
                for _ in asked:
                    if closing.is_set():
                        break

    threads = [threading.Thread(target=ask, args=one) for one in APPS]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        closing.set()
        for one in threads:
            one.join(PATIENCE_S)


def draw_all(folder: Path) -> None:
    """Write the pictures."""
    folder.mkdir(parents=True, exist_ok=True)

    def draw(screen: Screen, name: str) -> None:
        path = folder / f"{name}.svg"
        path.write_text(screen.picture(name), encoding="utf-8")
        print(path)

    with (
        tempfile.TemporaryDirectory(prefix="umad-", dir="/tmp") as place,
        live_daemon(Path(place), "nano", "--max-seqs", str(MAX_SEQS)) as daemon,
    ):
        top = [sys.executable, "-m", "umad", "top", "--socket", str(daemon.socket)]
        with terminal(shlex.join(top)) as screen:
            wait_until(lambda: screen.shows("nano", "ready"), within_s=PATIENCE_S, what="top")
            draw(screen, "top-idle")
            with load(daemon):
                busy = ("editor", "indexer", "waiting", "HELD")
                wait_until(lambda: screen.shows(*busy), within_s=PATIENCE_S, what="the load")
                draw(screen, "top-mixed")
                screen.keys("Down", "s")
                wait_until(
                    lambda: screen.shows("beyond the cap"), within_s=PATIENCE_S, what="the page"
                )
                draw(screen, "top-who-slows-me")
                screen.keys("Escape")
                _kill_engine(daemon, screen)
                draw(screen, "top-restarting")
                for one in daemon.engines():
                    one.resume()


def _kill_engine(daemon: LiveDaemon, screen: Screen) -> None:
    """Kill the engine, and hold the next one while it starts, until the screen has shown that."""
    (killed,) = daemon.engines()
    killed.kill()
    wait_until(
        lambda: any(one.pid != killed.pid for one in daemon.engines()),
        within_s=PATIENCE_S,
        what="the next engine",
    )
    for one in daemon.engines():
        one.suspend()
    wait_until(lambda: screen.shows("starting"), within_s=PATIENCE_S, what="the restart")


if __name__ == "__main__":
    if shutil.which("tmux") is None:
        sys.exit("the pictures are taken of a terminal: install tmux")
    draw_all(Path(sys.argv[1]))
