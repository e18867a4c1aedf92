"""Makes reports of the steps' news and writes them to the daemon, on whichever thread has news.

Not a thread of its own: handing a step's news to one and waking it cost more than the news, and
the core it then took was missed by the decode (2 cores, tiny model: 0.1 ms of 2.5 a token).
The daemon never leaves its end unread for long; a send is bounded all the same.
Any thread may `put`; order is kept.
"""

import logging
import os
import socket
import struct
import threading

from umad.engine.mail.step_news import News, encode_news
from umad.protocol.frames import encode_frame
from umad.protocol.link import FromEngine, encode

log = logging.getLogger("umad.engine")

# Bytes the daemon may be behind before a step waits for it: some thousand steps' news.
BACKLOG_BYTES = 4 * 2**20
# The daemon leaves nothing unread for so long unless it hangs; then nobody is served anyway.
SEND_S = 60


class Emitter:
    """Owner of the socket's sending side."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BACKLOG_BYTES)
        # Python's own time limit would hold for receiving too. A struct timeval.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_S, 0))
        self._lock = threading.Lock()

    def put(self, message: News | FromEngine) -> None:
        """Send; waits only while the daemon is `BACKLOG_BYTES` behind. Ends the process where the
        daemon has gone: nobody is left to work for."""
        body = encode_news(message) if isinstance(message, News) else encode(message)
        try:
            with self._lock:
                self._link.sendall(encode_frame(body))
        except OSError as error:
            log.info("link closed while sending error=%s", error)
            os._exit(0)
