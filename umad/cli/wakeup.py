"""Wakes an event loop for every signal, so that Ctrl-C is heard at once.

Python runs a signal's handler between two of its instructions. A signal that comes after the last
one and before the loop sleeps is not heard until something else wakes the loop. So Python writes a
byte for each signal to a socket that the loop reads.

Not: what a signal does. `asyncio.Runner` has a handler for Ctrl-C. Owner: the main thread.
"""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator

_MOST_BYTES = 4096


@contextlib.contextmanager
def woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have `loop` woken by signals meanwhile. Other threads than the main one hear no signals, so
    in them this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, pythons = socket.socketpair()
    with ours, pythons:
        ours.setblocking(False)
        pythons.setblocking(False)
        before = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
        loop.add_reader(ours, ours.recv, _MOST_BYTES)
        try:
            yield
        finally:
            loop.remove_reader(ours)
            signal.set_wakeup_fd(before)
