"""Read a request's logits where the engine has put them, and choose its tokens from them.

    request = GenerateRequest(prompt="Once", logits="choose")
    for item in read_logits(client, request):
        if isinstance(item, LogitsRow):
            item.choose(int(item.values.argmax()))

The rows lie in memory shared with the engine; `values` is a view of them and nothing is copied.
With logits="read" the engine draws the tokens and goes on: whoever is too slow finds a row
overwritten (`umad.sampling.ring.RowOverwritten`). With "choose" it waits for each choice, for ten
seconds unless configured otherwise.
Not imported by `umad.client`: only who wants logits pays for numpy.
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
        """float32 (n_vocab,), read-only: the memory itself, as the model left it, before any
        penalty or temperature. Raises `RowOverwritten` where it has gone; a copy is the caller's
        to make."""
        return self._ring.row(self.position)

    def check(self) -> None:
        """After the last use of `values`, where the engine does not wait: raises `RowOverwritten`
        if they changed meanwhile."""
        self._ring.check(self.position)

    def choose(self, token: int) -> None:
        """Let `token` be the one. Once for each row, of a request that asked to choose; a token
        the model does not have, or a second choice, ends the request with an error."""
        self._choose(self.position, token)


def read_logits(
    client: Client, request: GenerateRequest
) -> Generator[GenerationEvent | LogitsRow, None, None]:
    """What `client.generate` yields, with the rows of logits in between, each before its token.

    Raises what ends the request early, and `BadRequest` where `request.logits` is not set.
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
    """The same of an `AsyncClient`."""
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
    """Map it. The mapping goes with the last view of it."""
    try:
        layout = RingLayout.of_map(attached.layout)
        memory = mmap.mmap(attached.fd, layout.n_bytes, prot=mmap.PROT_READ)
    finally:
        os.close(attached.fd)
    return RingReader(layout, memory)


def _attached(ring: RingReader | None) -> RingReader:
    if ring is None:
        raise ProtocolViolation("the daemon told of logits before there was a ring of them")
    return ring
