"""Reads a request's logits in memory shared with the engine, and chooses its tokens from them.

    request = GenerateRequest(prompt="Once", logits="choose")
    for item in read_logits(client, request):
        if isinstance(item, LogitsRow):
            item.choose(int(item.values.argmax()))

`values` is a view of the shared memory, and nothing is copied. With logits="read" the engine draws
the tokens and does not wait: a reader that is too slow finds a row overwritten
(`umad.sampling.ring.RowOverwritten`). With "choose" the engine waits for each choice, for ten
seconds unless configured otherwise.
Not imported by `umad.client`, so that only programs that want logits load numpy.
"""

import mmap
import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing

import numpy as np
from numpy.typing import NDArray

from umad.client.asynchronous import AsyncClient
from umad.client.attaching import AttachedRing
from umad.client.blocking import Client
from umad.errors import BadRequest, ProtocolViolation
from umad.request import GenerateRequest
from umad.sampling.ring import RingLayout, RingReader
from umad.service import Accepted, GenerationEvent, Logits


class LogitsRow:
    """The logits from which token `position` (from 0) of the completion is drawn."""

    __slots__ = ("_choose", "_ring", "position")

    def __init__(self, ring: RingReader, position: int, choose: Callable[[int, int], None]) -> None:
        self._ring = ring
        self._choose = choose
        self.position = position

    @property
    def values(self) -> NDArray[np.float32]:
        """float32 (n_vocab,), read-only: the shared memory itself, before any penalty or
        temperature.

        Raises `RowOverwritten` where the row is gone. Copy it to keep it.
        """
        return self._ring.row(self.position)

    def check(self) -> None:
        """Raise `RowOverwritten` if `values` changed meanwhile.

        Call it after the last use of `values`, where the engine does not wait.
        """
        self._ring.check(self.position)

    def choose(self, token: int) -> None:
        """Choose `token`, once for each row, in a request that asked to choose.

        A token the model does not have, or a second choice, ends the request with an error.
        """
        self._choose(self.position, token)


def read_logits(
    client: Client, request: GenerateRequest
) -> Generator[GenerationEvent | LogitsRow, None, None]:
    """The events of `client.generate`, with each row of logits before its token.

    Raises the error that ends the request early, and `BadRequest` where `request.logits` is not
    set.
    """
    _check(request)
    name, ring = "", None

    def choose(position: int, token: int) -> None:
        client.choose(name, position, token)

    with closing(client.generate(request)) as events:
        for event in events:
            if isinstance(event, Accepted):
                name = event.request
            if not isinstance(event, Logits):
                yield event
            elif event.position is None:
                ring = _reader(client.attach(name))
            else:
                yield LogitsRow(_attached(ring), event.position, choose)


async def read_logits_async(
    client: AsyncClient, request: GenerateRequest
) -> AsyncGenerator[GenerationEvent | LogitsRow, None]:
    """As `read_logits`, for an `AsyncClient`."""
    _check(request)
    name, ring = "", None

    def choose(position: int, token: int) -> None:
        client.choose(name, position, token)

    async with aclosing(client.generate(request)) as events:
        async for event in events:
            if isinstance(event, Accepted):
                name = event.request
            if not isinstance(event, Logits):
                yield event
            elif event.position is None:
                ring = _reader(await client.attach(name))
            else:
                yield LogitsRow(_attached(ring), event.position, choose)


def _check(request: GenerateRequest) -> None:
    if request.logits is None:
        raise BadRequest('logits is "read" or "choose" of a request to read', field="logits")


def _reader(attached: AttachedRing) -> RingReader:
    """Map the ring's memory. The mapping is freed with the last view of it."""
    try:
        layout = RingLayout.of_map(attached.layout)
        memory = mmap.mmap(attached.fd, layout.n_bytes, prot=mmap.PROT_READ)
    finally:
        os.close(attached.fd)
    return RingReader(layout, memory)


def _attached(ring: RingReader | None) -> RingReader:
    if ring is None:
        raise ProtocolViolation("the daemon announced logits before their ring existed")
    return ring
