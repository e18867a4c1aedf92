"""Encodes the steps' news as reports and writes them to the daemon, on the thread that has them.

It is no thread of its own: handing a step's news to another thread and waking it cost more than the
news, and the decode missed the core which that thread then took (2 cores, tiny model: 0.1 ms of
2.5 a token). The daemon never leaves its end unread for long; a send is bounded all the same.
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

# The daemon may be this many bytes behind before a step waits for it: some thousand steps' news.
BACKLOG_BYTES = 4 * 2**20
# A daemon that leaves news unread for so long hangs, and then no client is served anyway.
SEND_S = 60


class Emitter:
    """Owner of the socket's sending side."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BACKLOG_BYTES)
        # Python's own time limit would hold for receiving too. The value is a struct timeval.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_S, 0))
        self._lock = threading.Lock()

    def put(self, message: News | FromEngine) -> None:
        """Send a message. It waits only while the daemon is `BACKLOG_BYTES` behind. Where the
        daemon has gone it ends the process, because an engine without its daemon serves nobody.
        """
        body = encode_news(message) if isinstance(message, News) else encode(message)
        try:
            with self._lock:
                self._link.sendall(encode_frame(body))
        except OSError as error:
            log.info("link closed while sending error=%s", error)
            os._exit(0)
