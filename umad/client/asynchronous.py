"""`AsyncClient`: the daemon as a `umad.service.Service`, many requests on one connection.

Not: the connection itself (`umad.client.connection`). Belongs to the loop that first used it.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from typing_extensions import override

from umad.client.attaching import AttachedRing, attach_ring
from umad.client.connection import Connection, open_connection
from umad.client.opening import socket_path
from umad.client.options import DEFAULT_OPTIONS, ClientOptions
from umad.client.prompts import Prompt, request_for
from umad.client.results import (
    as_count,
    as_embeddings,
    as_facts,
    as_ids,
    as_pieces,
    as_ranking,
    as_rows,
    as_text,
)
from umad.clock import MonotonicClock
from umad.embedding import Embeddings, EmbedRequest, Ranking, RerankRequest
from umad.errors import ConnectionLost, LimitExceeded
from umad.protocol.errors import error_of_failed
from umad.protocol.messages import (
    Cancel,
    ChooseToken,
    Detokenize,
    Embed,
    Generate,
    Load,
    Metrics,
    Models,
    Ping,
    Priority,
    Rerank,
    Sessions,
    Tokenize,
    Unload,
)
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Event, Failed, Service, Take, Tokens


class AsyncClient(Service):
    """Connects at its first use and again after a loss; what ran on a lost connection is lost.

    path: the daemon's socket; None for the default (`umad.socket_path`). Every method may raise
    `NoDaemon`, `Refused`, `ConnectionLost` and `DeadlineExceeded` besides what it says.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, options: ClientOptions | None = None
    ) -> None:
        self._path = socket_path(path)
        self._options = options or DEFAULT_OPTIONS
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        await self._connected()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. What runs on it is cancelled; the client is not used again."""
        self._closed = True
        self._settle_on(asyncio.get_running_loop())
        async with self._opening:
            connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> Connection:
        self._settle_on(asyncio.get_running_loop())
        async with self._opening:
            if self._closed:
                raise ConnectionLost("this client was closed")
            if self._connection is None or not self._connection.is_open:
                self._connection = await open_connection(self._path, self._options)
            return self._connection

    def _settle_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to `loop`: the first one, or the next where that has ended (`asyncio.run` twice).

        Raises `LimitExceeded` where another one runs."""
        if self._loop is loop:
            return
        if self._loop is not None:
            if not self._loop.is_closed():
                raise LimitExceeded("this client belongs to another event loop; use one for each")
            self._connection, self._opening = None, asyncio.Lock()
        self._loop = loop

    # -- generation ------------------------------------------------------------------------------

    @override
    async def generate(
        self, request: GenerateRequest, *, take: Take | None = None
    ) -> AsyncGenerator[Event, None]:
        """Events of one request, ending with `Done` of every index or `Failed`.

        Leaving the iterator cancels the request; where that must not wait for the iterator to be
        collected, wrap it in `contextlib.aclosing`. Raises `LimitExceeded` where far too much was
        left unread (`umad.client.inbox`).
        """
        request.check()
        connection = await self._connected()
        request_id = connection.next_id()
        inbox = await connection.start(Generate(id=request_id, request=request), take)
        running = request.n
        try:
            while running:
                event = await inbox.get()
                if isinstance(event, Done):
                    running -= 1
                elif isinstance(event, Failed):
                    running = 0
                yield event
        finally:
            connection.finish(request_id, inbox, cancel=running > 0)

    async def text(
        self,
        prompt: Prompt,
        *,
        model: str | None = None,
        lane: str | None = None,
        session: str | None = None,
        sampling: SamplingParams | None = None,
    ) -> AsyncGenerator[str, None]:
        """Pieces of the text that follows `prompt`, as they come. Raises what ends it early."""
        request = request_for(prompt, model=model, lane=lane, session=session, sampling=sampling)
        async with aclosing(self.generate(request)) as events:
            async for event in events:
                if isinstance(event, Tokens):
                    yield event.text
                elif isinstance(event, Failed):
                    raise error_of_failed(event)

    async def complete(
        self,
        prompt: Prompt,
        *,
        model: str | None = None,
        lane: str | None = None,
        session: str | None = None,
        sampling: SamplingParams | None = None,
    ) -> str:
        """The text that follows `prompt`; as far as it came when somebody cancelled it."""
        pieces = self.text(prompt, model=model, lane=lane, session=session, sampling=sampling)
        return "".join([piece async for piece in pieces])

    async def attach(self, request: str, *, choose: bool = False) -> AttachedRing:
        """The ring of logits of a live request of this process, by the daemon's id
        (`Accepted.request`). `umad.client.logits` does this by itself.

        choose: from the next row on the client chooses the tokens. Raises `UnknownRequest`.
        """
        return await asyncio.to_thread(
            attach_ring, self._path, self._options, MonotonicClock(), request, choose=choose
        )

    def choose(self, request: str, position: int, token: int) -> None:
        """Let `token` be number `position` of a request that waits for it. Nothing is answered:
        a choice that cannot be meant ends the request with an error. Raises `ConnectionLost`."""
        if self._connection is None:
            raise ConnectionLost("this client is not connected, so none of its requests is live")
        message = ChooseToken(
            id=self._connection.next_id(), request=request, position=position, token=token
        )
        self._connection.post(message)

    # -- texts that are embedded or compared -----------------------------------------------------

    @override
    async def embed(self, request: EmbedRequest) -> Embeddings:
        request.check()
        connection = await self._connected()
        message = Embed(id=connection.next_id(), request=request)
        return as_embeddings(await connection.work(message, self._options.embed_s))

    @override
    async def rerank(self, request: RerankRequest) -> Ranking:
        request.check()
        connection = await self._connected()
        message = Rerank(id=connection.next_id(), request=request)
        return as_ranking(await connection.work(message, self._options.embed_s))

    # -- single answers --------------------------------------------------------------------------

    @override
    async def tokenize(
        self, text: str, *, model: str | None = None, special: bool = True
    ) -> tuple[int, ...]:
        connection = await self._connected()
        request = Tokenize(id=connection.next_id(), text=text, model=model, special=special)
        return as_ids(await connection.call(request, self._options.call_s))

    @override
    async def detokenize(self, ids: tuple[int, ...], *, model: str | None = None) -> str:
        connection = await self._connected()
        request = Detokenize(id=connection.next_id(), ids=ids, model=model)
        return as_text(await connection.call(request, self._options.call_s))

    @override
    async def pieces(self, ids: tuple[int, ...], *, model: str | None = None) -> tuple[bytes, ...]:
        connection = await self._connected()
        request = Detokenize(id=connection.next_id(), ids=ids, model=model, pieces=True)
        return as_pieces(await connection.call(request, self._options.call_s))

    @override
    async def cancel(self, request: str) -> None:
        connection = await self._connected()
        message = Cancel(id=connection.next_id(), request=request)
        await connection.call(message, self._options.call_s)

    @override
    async def set_priority(self, target: str, lane: str) -> int:
        connection = await self._connected()
        request = Priority(id=connection.next_id(), target=target, lane=lane)
        return as_count(await connection.call(request, self._options.call_s))

    @override
    async def load(self, model: str) -> Mapping[str, Any]:
        connection = await self._connected()
        request = Load(id=connection.next_id(), model=model)
        return as_facts(await connection.call(request, self._options.load_s))

    @override
    async def unload(self, model: str) -> None:
        connection = await self._connected()
        request = Unload(id=connection.next_id(), model=model)
        await connection.call(request, self._options.call_s)

    @override
    async def models(self) -> list[Mapping[str, Any]]:
        connection = await self._connected()
        request = Models(id=connection.next_id())
        return as_rows(await connection.call(request, self._options.call_s))

    @override
    async def sessions(self) -> list[Mapping[str, Any]]:
        connection = await self._connected()
        request = Sessions(id=connection.next_id())
        return as_rows(await connection.call(request, self._options.call_s))

    @override
    async def metrics(self) -> Mapping[str, Any]:
        connection = await self._connected()
        request = Metrics(id=connection.next_id())
        return as_facts(await connection.call(request, self._options.call_s))

    async def ping(self) -> None:
        """Return once the daemon has answered."""
        connection = await self._connected()
        await connection.call(Ping(id=connection.next_id()), self._options.call_s)
