"""Hands the process's stdin and stdout to one protocol, as asyncio's streams.

An editor starts the process and speaks a protocol over both. So whatever else writes to stdout
goes to stderr from then on, where it cannot break a message; to nowhere where the editor has closed
stderr. What is read and not asked for yet is bounded, also of a file. Not: the protocol itself.
The editor is no more when stdin ends; nothing here keeps the process alive then.
"""

import asyncio
import fcntl
import os
import socket
import stat
import sys
import threading
from typing import Any, TextIO, cast

from typing_extensions import override

_CHUNK_BYTES = 2**16
# Behind stdin, stdout and stderr.
_FIRST_OTHER_FD = 3
# A reader that is stuck must not keep the process alive for the rest of an answer.
_FLUSH_S = 1.0


async def take_standard_streams(
    limit_bytes: int,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Copies of stdin and stdout, which this protocol alone has. The originals stay open, since
    the command line closes its own by itself. limit_bytes: the longest line that can be read.
    """
    source, target, errors = (_copy_of(one) for one in (sys.stdin, sys.stdout, sys.stderr))
    if sys.stdout is not None:
        os.dup2(errors, sys.stdout.fileno())
    os.close(errors)
    if _is_one_socket(source, target):
        # One socket for both ways. What reads it must not be another than what writes to it:
        # asyncio's writer to a pipe takes whatever can be read for the end.
        os.close(target)
        return await asyncio.open_connection(sock=socket.socket(fileno=source), limit=limit_bytes)
    return await _reader_of(source, limit_bytes), await _writer_of(target)


def _copy_of(stream: TextIO | None) -> int:
    """A descriptor for what a standard stream leads to, or for the null device where its parent has
    closed it. It is none of the first three: what is written to a closed stderr, by C code too,
    would go into the protocol.
    """
    try:
        if stream is not None:
            return fcntl.fcntl(stream.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST_OTHER_FD)
    except (OSError, ValueError):
        pass  # it was closed since
    null = os.open(os.devnull, os.O_RDWR)
    try:
        return fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, _FIRST_OTHER_FD)
    finally:
        os.close(null)


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
        # for the shell too.
        reader.set_transport(_FileReading(fd, reader, loop))
    return reader


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


class _FileReading(asyncio.ReadTransport):
    """Reads a file or a terminal in a thread, one chunk after the other, while its reader has room.

    The thread waits until a chunk has come to the reader before it reads the next one. It is a
    daemon: one that still waits for a key or for room does not delay the end.
    """

    def __init__(
        self, fd: int, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__()
        self._fd, self._reader, self._loop = fd, reader, loop
        # Of the loop.
        self._is_paused = False
        # The thread may read the next chunk. The loop sets it, the thread clears it.
        self._goes_on = threading.Event()
        self._goes_on.set()
        threading.Thread(target=self._read, daemon=True).start()

    @override
    def pause_reading(self) -> None:
        self._is_paused = True

    @override
    def resume_reading(self) -> None:
        self._is_paused = False
        self._goes_on.set()

    def _take(self, data: bytes) -> None:
        self._reader.feed_data(data)  # which pauses, where it is full
        if not self._is_paused:
            self._goes_on.set()

    def _read(self) -> None:
        try:
            while data := self._next_chunk():
                self._loop.call_soon_threadsafe(self._take, data)
            self._loop.call_soon_threadsafe(self._reader.feed_eof)
        except RuntimeError:
            return  # the loop has ended first

    def _next_chunk(self) -> bytes:
        self._goes_on.wait()
        self._goes_on.clear()
        try:
            return os.read(self._fd, _CHUNK_BYTES)
        except OSError:
            return b""  # the terminal has gone: the same as its end


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
