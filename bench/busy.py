"""Runs programs that compute for ever, as a compiler or a test run beside a server does.

Owner: the measuring process. The programs end with it, however it ends.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

_STOP_S = 10.0
# Ends when its standard input does: nobody is left behind.
_PROGRAM = """
import sys, threading
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
while not ended.is_set():
    sum(range(100_000))
"""


@contextlib.contextmanager
def programs(count: int) -> Iterator[None]:
    """Inside, `count` of them run, one thread each."""
    running = [
        subprocess.Popen([sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.communicate(timeout=_STOP_S)
