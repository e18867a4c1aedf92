"""Imports what an engine is made of, and gives way to the other engines meanwhile.

The imports take most of a small model's load: 0.7 of 1.2 s of processor time with nano. Each module
of `_PARTS` is one part (`umad.engine.aside`), and imports what it needs. They need not be complete:
what none of them imports, the last ones do. Owner: the main thread.
"""

import importlib
import json
import mmap
import sys
from collections.abc import Callable, Sequence

from umad.clock import MonotonicClock
from umad.engine.aside import run_aside
from umad.engine.board.page import BOARD_BYTES, let_stop, others_are_interactive, words_of

# In this order each takes a tenth of a second or less.
_PARTS = (
    "logging",
    "psutil",
    "numpy",
    "msgpack",
    "umad.config",
    "umad.protocol.requests",
    "umad.protocol.link",
    "umad.scheduler.steps",
    "umad.scheduler",
    "umad.chat",
    "llguidance",
    "umad.engine.constraints.guidance",
    "umad.engine.mail.intake",
    "umad.engine.mail.mailbox",
    "umad.engine.sessions.disk",
    "umad.engine.wiring",
    "umad.engine.main",
)


def import_parts(arguments: Sequence[str]) -> None:
    """Import the engine. arguments: its command line, from which the device board is read."""
    is_busy = _look(arguments)
    for name in _PARTS:
        if name not in sys.modules:
            run_aside(lambda name=name: importlib.import_module(name), is_busy=is_busy)  # type: ignore[misc]


def _look(arguments: Sequence[str]) -> Callable[[], bool]:
    """A function that says whether another engine has interactive work now."""
    try:
        options = json.loads(arguments[arguments.index("--options") + 1])
        fd, seat = options["board_fd"], options["board_seat"]
    except (ValueError, LookupError, TypeError):  # `umad.engine.main` says what is wrong
        return lambda: False
    if fd is None:
        return lambda: False
    words, clock = words_of(mmap.mmap(fd, BOARD_BYTES)), MonotonicClock()
    let_stop(words, seat, True)
    return lambda: others_are_interactive(words, seat, clock.now_ns())
