"""Provides `AsyncClient`: the daemon as a `umad.service.Service`, many requests on one connection.

Its methods are made from the verbs (`umad.client.verbs`).
Not: the connection itself (`umad.client.connection`). Belongs to the loop that first used it.
"""

import asyncio
import copy
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from types import GenericAlias, TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from umad.asker import MACHINE_USER, Asker
from umad.client import job_verbs, verbs
from umad.client.attaching import AttachedRing, attach_ring
from umad.client.carrying import CarryingLink
from umad.client.finding import find_socket
from umad.client.link import Link
from umad.client.methods import EventFlow, Gathering, Question, dressed
from umad.client.opening import places_of
from umad.client.options import DEFAULT_OPTIONS, ClientOptions
from umad.client.remote.address import remote_address
from umad.client.remote.link import RemoteLink
from umad.client.speech import Recording, TranscribeKeywords, last_of, speech_request
from umad.clock import Clock, MonotonicClock
from umad.errors import ConnectionLost, ProtocolViolation, Unsupported
from umad.protocol.errors import error_of_failed
from umad.protocol.messages import (
    ChooseToken,
    Generate,
    Transcribe,
)
from umad.request import GenerateRequest
from umad.service import Done, Event, Failed, Service, Take
from umad.transcription import Heard, TranscribeRequest, Transcript, TranscriptEvent

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


def _asks(
    verb: Callable[P, Question[T]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    async def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client._ask(verb(*args, **kwargs))

    return dressed(method, verb, owner="AsyncClient", returns=lambda answer: answer)


def _flows(
    verb: Callable[P, EventFlow[T]],
) -> Callable[Concatenate["AsyncClient", P], AsyncGenerator[T, None]]:
    def method(
        client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        return client._follow(verb(*args, **kwargs))

    return dressed(
        method,
        verb,
        owner="AsyncClient",
        returns=lambda piece: GenericAlias(AsyncGenerator, (piece, None)),
    )


def _gathers(
    verb: Callable[P, Gathering[T, R]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, R]]:
    async def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        gathering = verb(*args, **kwargs)
        return gathering.fold([piece async for piece in client._follow(gathering.flow)])

    return dressed(method, verb, owner="AsyncClient", returns=lambda whole: whole)


class AsyncClient:
    """Connects at its first use and again after a loss; requests on a lost connection are lost.

    path: the daemon's socket; None for where this user's is (`umad.socket_path`). Besides the
    errors it names, every method may raise `NoDaemon`, `Refused`, `ConnectionLost` and
    `DeadlineExceeded`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        options: ClientOptions | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._places = places_of(path)
        self._options = options or DEFAULT_OPTIONS
        self._clock = clock or MonotonicClock()
        self._link: CarryingLink = Link(self._places, self._options)
        self._asker: Asker | None = None
        self._is_remote = False

    @classmethod
    def of_team(
        cls,
        address: str,
        *,
        key: str | None = None,
        tls: ssl.SSLContext | None = None,
        options: ClientOptions | None = None,
    ) -> Self:
        """A client of a team's router, or of one gateway: `https://HOST[:PORT]`, or `http://` and
        `unix:PATH` on this machine.

        An answer whose machine dies goes on at another one with the same model. tls: certificates
        of one's own. Raises `BadConfig` for what is no address.
        """
        client = cls("/umad-has-no-socket-here", options=options)
        client._link = RemoteLink(remote_address(address, key=key, tls=tls), client._options)
        client._is_remote = True
        return client

    async def __aenter__(self) -> Self:
        await self._link.connected()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Its requests are cancelled; do not use the client again."""
        await self._link.close()

    @property
    def server(self) -> str:
        """The daemon's name and version as it greeted, as in umad/0.2.0; empty before that."""
        connection = self._link.connection
        return "" if connection is None else connection.server

    def on_behalf(self, asker: Asker) -> Self:
        """A client that asks for `asker`: the daemon shows it only what that asker may see and
        touch.

        This takes rights away and never gives any (`umad.asker`). The new client shares this one's
        connection.
        """
        if asker == MACHINE_USER:
            return self
        other = copy.copy(self)
        other._asker = asker
        return other

    # -- generation ------------------------------------------------------------------------------

    generate = _flows(verbs.generate)
    text = _flows(verbs.text)
    complete = _gathers(verbs.complete)
    stream = _flows(verbs.stream)
    chat = _gathers(verbs.chat)

    def events(
        self, request: GenerateRequest, *, take: Take | None = None
    ) -> AsyncGenerator[Event, None]:
        """Events of one request, ending with `Done` of every index or `Failed`.

        For front ends, which pass a failure on as an event; `generate` raises it. Leaving the
        iterator cancels the request. To cancel at once, without waiting until the iterator is
        collected, wrap it in `contextlib.aclosing`. Raises `LimitExceeded` where far too much was
        left unread (`umad.client.inbox`).
        """
        request.check()
        return self._events(request, take)

    async def _events(
        self, request: GenerateRequest, take: Take | None
    ) -> AsyncGenerator[Event, None]:
        connection = await self._link.connected()
        request_id = connection.next_id()
        inbox = await connection.start(
            Generate(id=request_id, asker=self._asker, request=request), take
        )
        running = request.n
        try:
            while running:
                event = await inbox.get()
                if isinstance(event, Heard | Transcript):
                    raise ProtocolViolation("the daemon answered a generation with a transcript")
                if isinstance(event, Done):
                    running -= 1
                elif isinstance(event, Failed):
                    running = 0
                yield event
        finally:
            connection.finish(request_id, inbox, cancel=running > 0)

    async def attach(self, request: str, *, choose: bool = False) -> AttachedRing:
        """The ring of logits of a live request of this process, by the daemon's id
        (`Accepted.request`).

        `umad.client.logits` calls this by itself. choose: from the next row on the client chooses
        the tokens. Raises `UnknownRequest`.
        """
        if self._is_remote:
            raise Unsupported("logits are in the memory of the machine that computes them")
        return await asyncio.to_thread(
            attach_ring,
            find_socket(self._places, self._options.socket_owner),
            self._options,
            self._clock,
            request,
            choose=choose,
            asker=self._asker,
        )

    def choose(self, request: str, position: int, token: int) -> None:
        """Make `token` number `position` of a request that waits for it. There is no answer.

        An invalid choice ends the request with an error. Raises `ConnectionLost`.
        """
        connection = self._link.connection
        if connection is None:
            raise ConnectionLost("this client is not connected, so none of its requests is live")
        message = ChooseToken(
            id=connection.next_id(),
            asker=self._asker,
            request=request,
            position=position,
            token=token,
        )
        connection.post(message)

    # -- texts that are embedded or compared -----------------------------------------------------

    embed = _asks(verbs.embed)
    rerank = _asks(verbs.rerank)

    # -- speech ----------------------------------------------------------------------------------

    def hear(
        self, recording: Recording, **keywords: Unpack[TranscribeKeywords]
    ) -> AsyncGenerator[TranscriptEvent, None]:
        """What is said in a recording: `Heard` behind every window, and the `Transcript` last.

        recording: a file's path, or its bytes. Raises `UnsupportedAudio`, `AudioTooLong`, or
        `Unsupported` for a model that hears nothing. Leaving the iterator cancels the request.
        """
        return self._listen(speech_request("hear", recording, keywords))

    async def transcribe(
        self, recording: Recording, **keywords: Unpack[TranscribeKeywords]
    ) -> Transcript:
        """The text of a recording: `hear` to its end."""
        return last_of([event async for event in self.hear(recording, **keywords)])

    # -- single answers --------------------------------------------------------------------------

    tokenize = _asks(verbs.tokenize)
    detokenize = _asks(verbs.detokenize)
    render = _asks(verbs.render)
    pieces = _asks(verbs.pieces)
    cancel = _asks(verbs.cancel)
    set_priority = _asks(verbs.set_priority)
    load = _asks(verbs.load)
    load_in_background = _asks(job_verbs.load_in_background)
    unload = _asks(verbs.unload)
    estimate = _asks(verbs.estimate)
    pull = _asks(job_verbs.pull)
    quantize = _asks(job_verbs.quantize)
    jobs = _asks(job_verbs.jobs)
    job = _asks(job_verbs.job)
    cancel_job = _asks(job_verbs.cancel_job)
    remove_model = _asks(job_verbs.remove_model)
    copy_model = _asks(job_verbs.copy_model)
    save_preset = _asks(job_verbs.save_preset)
    models = _asks(verbs.models)
    adapters = _asks(verbs.adapters)
    sessions = _asks(verbs.sessions)
    forget = _asks(verbs.forget)
    metrics = _asks(verbs.metrics)
    ping = _asks(verbs.ping)
    answer_of = _asks(verbs.answer_of)

    # -- how the kinds of verbs are carried out --------------------------------------------------

    async def _ask(self, question: Question[T]) -> T:
        """The answer to one message. Work that nobody waits for any more is cancelled."""
        connection = await self._link.connected()
        carry_out = connection.work if question.wait == "embed" else connection.call
        request = question.message(connection.next_id())
        if self._asker is not None:
            request = replace(request, asker=self._asker)
        return question.read(await carry_out(request, question.timeout_s(self._options)))

    async def _listen(self, asked: TranscribeRequest) -> AsyncGenerator[TranscriptEvent, None]:
        """Yield the events of a transcription; raise the error it fails with."""
        connection = await self._link.connected()
        request_id = connection.next_id()
        message = Transcribe(id=request_id, asker=self._asker, request=asked)
        inbox = await connection.start(message)
        running = True
        try:
            while running:
                event = await inbox.get()
                running = not isinstance(event, Transcript | Failed)
                if isinstance(event, Failed):
                    raise error_of_failed(event)
                if isinstance(event, Heard | Transcript):
                    yield event
        finally:
            connection.finish(request_id, inbox, cancel=running)

    async def _follow(self, flow: EventFlow[T]) -> AsyncGenerator[T, None]:
        """Yield the pieces of a generation; raise the error it fails with."""
        read = flow.reader(await self.models() if flow.wants_models else ())
        async with aclosing(self.events(flow.request)) as events:
            async for event in events:
                if isinstance(event, Failed):
                    raise error_of_failed(event)
                for piece in read(event):
                    yield piece


def _as_service(client: AsyncClient) -> Service:
    """Let the type checker compare the client's methods with `Service`. Nothing calls this."""
    return client
