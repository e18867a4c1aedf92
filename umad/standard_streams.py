"""Hands the process's stdin and stdout to one protocol, as asyncio's streams.

An editor starts the process and speaks a protocol over both. So whatever else writes to stdout
goes to stderr from then on, where it cannot break a message. Not: the protocol itself.
The editor is no more when stdin ends; nothing here keeps the process alive then.
"""

import asyncio
import os
import socket
import stat
import sys
import threading
from typing import Any, cast

from typing_extensions import override

_CHUNK_BYTES = 2**16
# A reader that is stuck must not keep the process alive for the rest of an answer.
_FLUSH_S = 1.0


async def take_standard_streams(
    limit_bytes: int,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Copies of stdin and stdout, which this protocol alone has. The originals stay open, since
    the command line closes its own by itself. limit_bytes: the longest line that can be read.
    """
    source, target = os.dup(sys.stdin.fileno()), os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if _is_one_socket(source, target):
        # One socket for both ways. What reads it must not be another than what writes to it:
        # asyncio's writer to a pipe takes whatever can be read for the end.
        os.close(target)
        return await asyncio.open_connection(sock=socket.socket(fileno=source), limit=limit_bytes)
    return await _reader_of(source, limit_bytes), await _writer_of(target)


async def give_back(writer: asyncio.StreamWriter) -> None:
    """Send what is left, for a moment at most, and close."""
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), _FLUSH_S)
    except (TimeoutError, OSError):
        writer.transport.abort()


async def _reader_of(fd: int, limit_bytes: int) -> asyncio.StreamReader:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit_bytes)
    if _is_pipe(fd):
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb")
        )
    else:
        # asyncio waits for no file and not for /dev/null, and would make a terminal non-blocking
        # for the shell too. A thread that still waits for a key does not delay the end.
        threading.Thread(target=_read_on, args=(fd, reader, loop), daemon=True).start()
    return reader


def _read_on(fd: int, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
    try:
        while data := os.read(fd, _CHUNK_BYTES):
            loop.call_soon_threadsafe(reader.feed_data, data)
    except OSError:
        pass  # the terminal has gone: the same as its end
    except RuntimeError:
        return  # the loop has ended first
    try:
        loop.call_soon_threadsafe(reader.feed_eof)
    except RuntimeError:
        return


async def _writer_of(fd: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
    if _is_pipe(fd):
        transport, _ = await loop.connect_write_pipe(lambda: protocol, os.fdopen(fd, "wb"))
    else:
        transport = cast(Any, _FileTransport(fd, protocol))
        protocol.connection_made(transport)
    return asyncio.StreamWriter(transport, protocol, None, loop)


def _is_one_socket(source: int, target: int) -> bool:
    return stat.S_ISSOCK(os.fstat(source).st_mode) and os.path.sameopenfile(source, target)


def _is_pipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class _FileTransport(asyncio.WriteTransport):
    """Writes to a file or a terminal at once, since asyncio's own takes only pipes."""

    def __init__(self, fd: int, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._fd, self._protocol = fd, protocol
        self._is_closed = False

    @override
    def write(self, data: Any) -> None:
        left = memoryview(data)
        while left and not self._is_closed:
            left = left[os.write(self._fd, left) :]

    @override
    def get_write_buffer_size(self) -> int:
        return 0

    @override
    def is_closing(self) -> bool:
        return self._is_closed

    @override
    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            os.close(self._fd)
            self._protocol.connection_lost(None)

    @override
    def abort(self) -> None:
        self.close()
