"""A descriptor passes a transport by, and never stands in the middle of a frame."""

import asyncio
import os
import socket

import pytest
import uvloop

from umad.daemon.handover import Handover
from umad.errors import LimitExceeded
from umad.protocol.frames import FrameReader
from umad.protocol.messages import Result, parse_event

BACKLOG_BYTES = 8 * 2**20


async def connected() -> tuple[asyncio.Transport, socket.socket]:
    """A transport, as the daemon has one, and the client's end of it."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_unix_connection(asyncio.Protocol, sock=ours)
    theirs.settimeout(10)
    return transport, theirs


def readable() -> tuple[int, int]:
    """A descriptor to pass on, and its inode."""
    read, write = os.pipe()
    os.close(write)
    return read, os.fstat(read).st_ino


def is_open(fd: int, inode: int) -> bool:
    try:
        return os.fstat(fd).st_ino == inode
    except OSError:
        return False


def never() -> None:
    raise AssertionError("nothing was sent")


def test_the_answer_and_its_descriptor_arrive_together() -> None:
    async def run() -> None:
        sent: list[int] = []
        transport, client = await connected()
        fd, inode = readable()

        Handover(value={"slots": 8}, fd=fd, sent=lambda: sent.append(7)).send(transport, 7)
        data, (came,), _, _ = socket.recv_fds(client, 4096, 4)

        (body,) = FrameReader(4096).feed(data)
        assert parse_event(body) == (7, Result(value={"slots": 8}))
        assert os.fstat(came).st_ino == inode
        assert sent == [7]
        os.close(came)
        assert not is_open(fd, inode), "the daemon keeps none"
        transport.close()
        client.close()

    uvloop.run(run())


def test_where_frames_wait_to_be_sent_none_is_torn_and_no_descriptor_stays() -> None:
    async def run() -> None:
        transport, client = await connected()
        fd, inode = readable()
        transport.write(b"x" * BACKLOG_BYTES)
        await asyncio.sleep(0)

        with pytest.raises(LimitExceeded, match="one of its own"):
            Handover(value=None, fd=fd, sent=never).send(transport, 7)

        assert not is_open(fd, inode)
        transport.abort()
        client.close()

    uvloop.run(run())


def test_nobody_is_left_to_hand_it_to() -> None:
    async def run() -> None:
        transport, client = await connected()
        client.close()
        transport.abort()
        for gone in (None, transport):
            fd, inode = readable()
            Handover(value=None, fd=fd, sent=never).send(gone, 7)
            assert not is_open(fd, inode)

    uvloop.run(run())
