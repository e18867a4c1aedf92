"""The sender thread: makes reports of the steps' news and writes them to the daemon.

So that detokenizing, encoding and the system call run beside the next decode, not before it.
Any thread may `put`; order is kept.
"""

import logging
import os
import queue
import socket
import threading

from umad.engine.news import News, report
from umad.engine.process import name_thread
from umad.protocol.frames import encode_frame
from umad.protocol.link import FromEngine, encode

log = logging.getLogger("umad.engine")

# Steps the daemon may be behind before the step thread waits for it.
BACKLOG = 512
# Between looks at a full backlog.
_WAIT_S = 0.1


class Emitter:
    """Owner of the socket's sending side."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        # A SimpleQueue's put is one C call, a tenth of a Queue's; the bound is `_room`.
        self._queue: queue.SimpleQueue[News | FromEngine | None] = queue.SimpleQueue()
        self._room = threading.Event()
        self._room.set()
        self._thread = threading.Thread(target=self._run, name="umad-emitter", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, message: News | FromEngine) -> None:
        """Hand over; blocks only while the daemon is `BACKLOG` messages behind. Once handed over,
        a `News` and the detokenizers it leaves open belong to the emitter."""
        while self._queue.qsize() >= BACKLOG:
            self._room.clear()
            self._room.wait(_WAIT_S)
        self._queue.put(message)

    def close(self, timeout_s: float) -> None:
        """Send everything put so far, then end."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        name_thread("umad-emitter")
        try:
            while (message := self._queue.get()) is not None:
                body = encode(report(message) if isinstance(message, News) else message)
                self._link.sendall(encode_frame(body))
                if not self._room.is_set():
                    self._room.set()
        except OSError as error:
            # The daemon has gone: nobody is left to work for.
            log.info("link closed while sending error=%s", error)
            os._exit(0)
        except Exception:
            # A thread's boundary: without its news no stream would ever end.
            log.exception("emitter failed")
            os._exit(1)
