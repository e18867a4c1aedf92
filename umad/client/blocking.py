"""Provides `Client`: the daemon for a program without an event loop, one request at a time.

It has a socket of its own (`umad.client.channel`) and uses neither a loop nor a second thread. Its
methods are those of `AsyncClient`, made from the same verbs (`umad.client.verbs`). Belongs to one
thread.
"""

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import replace
from types import GenericAlias, TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from umad.asker import MACHINE_USER, Asker
from umad.client import job_verbs, verbs
from umad.client.attaching import AttachedRing, attach_ring
from umad.client.channel import Channel
from umad.client.finding import find_socket
from umad.client.methods import EventFlow, Gathering, Question, dressed
from umad.client.opening import places_of
from umad.client.options import DEFAULT_OPTIONS, ClientOptions
from umad.client.returning import LOOK_AGAIN_S, Return
from umad.client.speech import Recording, TranscribeKeywords, last_of, speech_request
from umad.clock import Clock, MonotonicClock
from umad.errors import (
    ConnectionLost,
    DeadlineExceeded,
    LimitExceeded,
    NoDaemon,
    ProtocolViolation,
    UmadError,
)
from umad.protocol.errors import error_of_failed
from umad.protocol.messages import (
    Cancel,
    ChooseToken,
    Generate,
    Request,
    RequestId,
    Result,
    Transcribe,
    Welcome,
)
from umad.request import GenerateRequest
from umad.service import Done, Event, Failed
from umad.transcription import Heard, TranscribeRequest, Transcript, TranscriptEvent

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


def _asks(verb: Callable[P, Question[T]]) -> Callable[Concatenate["Client", P], T]:
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._ask(verb(*args, **kwargs))

    return dressed(method, verb, owner="Client", returns=lambda answer: answer)


def _flows(
    verb: Callable[P, EventFlow[T]],
) -> Callable[Concatenate["Client", P], Generator[T, None, None]]:
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        return client._follow(verb(*args, **kwargs))

    return dressed(
        method,
        verb,
        owner="Client",
        returns=lambda piece: GenericAlias(Generator, (piece, None, None)),
    )


def _gathers(verb: Callable[P, Gathering[T, R]]) -> Callable[Concatenate["Client", P], R]:
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> R:
        gathering = verb(*args, **kwargs)
        return gathering.fold(list(client._follow(gathering.flow)))

    return dressed(method, verb, owner="Client", returns=lambda whole: whole)


class Client:
    """Connects at its first use and again after a loss.

    path: the daemon's socket; None for where this user's is (`umad.socket_path`). Besides the
    errors it names, every method may raise `NoDaemon`, `Refused`, `ConnectionLost` and
    `DeadlineExceeded`. It raises `LimitExceeded` while an iterator of this client is open or
    another thread uses the client: use two clients for two requests at once.
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
        self._channel: Channel | None = None
        self._last_id = 0
        # Held by the one request that may be under way. A second thread would take its answers.
        self._busy = threading.Lock()
        self._closed = False
        self._asker: Asker | None = None

    def __enter__(self) -> Self:
        self._connected()
        self._busy.release()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Its requests are cancelled; do not use the client again."""
        self._closed = True
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    @property
    def server(self) -> str:
        """The daemon's name and version as it greeted, as in umad/0.2.0; empty before that."""
        return "" if self._channel is None else self._channel.server

    def on_behalf(self, asker: Asker) -> Self:
        """A client that asks for `asker`: the daemon shows it only what that asker may see and
        touch.

        This takes rights away and never gives any (`umad.asker`). The new client has a connection
        of its own and must be closed separately.
        """
        if asker == MACHINE_USER:
            return self
        other = type(self)(self._places[0], options=self._options, clock=self._clock)
        other._places = self._places
        other._asker = asker
        return other

    def _connected(self) -> Channel:
        """The connection, for one request. The request must release `_busy` at its end."""
        if self._closed:
            raise ConnectionLost("this client was closed")
        if not self._busy.acquire(blocking=False):
            raise LimitExceeded(
                "this client is in use: read its open iterator to the end or close it, or use a "
                "second client; threads need one each"
            )
        try:
            if self._channel is None or not self._channel.is_alive():
                self._channel = self._opened(self._channel)
        except BaseException:
            self._busy.release()
            raise
        return self._channel

    def _opened(self, lost: Channel | None) -> Channel:
        """A new connection. lost: the one before it."""
        returning = None
        if lost is not None:
            returning = Return(lost.lost_s or self._now_s(), self._options)
        while True:
            try:
                opened = Channel.open(self._found(), self._options, self._clock)
            except (NoDaemon, ConnectionLost):
                if returning is None or not returning.is_awaited(self._now_s()):
                    raise
            else:
                if returning is not None:
                    returning.came(opened.server, self._now_s())
                return opened
            time.sleep(LOOK_AGAIN_S)
            if self._closed:
                raise ConnectionLost("this client was closed")

    def _now_s(self) -> float:
        return self._clock.now_ns() / 1e9

    def _found(self) -> str:
        return find_socket(self._places, self._options.socket_owner)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    # -- generation ------------------------------------------------------------------------------

    generate = _flows(verbs.generate)
    text = _flows(verbs.text)
    complete = _gathers(verbs.complete)
    stream = _flows(verbs.stream)
    chat = _gathers(verbs.chat)

    def events(self, request: GenerateRequest) -> Generator[Event, None, None]:
        """Events of one request, ending with `Done` of every index or `Failed`.

        For front ends, which pass a failure on as an event; `generate` raises it. Leaving the
        iterator, or Ctrl-C in it, cancels the request.
        """
        request.check()
        return self._events(request)

    def _events(self, request: GenerateRequest) -> Generator[Event, None, None]:
        channel = self._connected()
        request_id = self._next_id()
        running = request.n
        try:
            channel.send(Generate(id=request_id, asker=self._asker, request=request))
            while running:
                event = channel.receive(request_id, self._options.event_s)
                if isinstance(event, Welcome | Result | Heard | Transcript):
                    raise ProtocolViolation("the daemon answered a generation with no event")
                if isinstance(event, Done):
                    running -= 1
                elif isinstance(event, Failed):
                    running = 0
                yield event
        finally:
            try:
                if running:
                    self._abandon(channel, request_id)
            finally:
                self._busy.release()

    def _abandon(self, channel: Channel, request_id: RequestId) -> None:
        """Cancel a request. The next request drops the messages that still arrive for it."""
        if not channel.is_alive():
            return
        # A connection that is lost or full by now is closed, which also cancels its requests.
        with suppress(ConnectionLost, DeadlineExceeded):
            channel.send(Cancel(id=self._next_id(), own_id=request_id))

    def attach(self, request: str, *, choose: bool = False) -> AttachedRing:
        """The ring of logits of a live request of this process, by the daemon's id
        (`Accepted.request`).

        `umad.client.logits` calls this by itself. choose: from the next row on the client chooses
        the tokens. Raises `UnknownRequest`.
        """
        return attach_ring(
            self._found(), self._options, self._clock, request, choose=choose, asker=self._asker
        )

    def choose(self, request: str, position: int, token: int) -> None:
        """Make `token` number `position` of a request that waits for it. There is no answer.

        An invalid choice ends the request with an error. Raises `ConnectionLost`.
        """
        if self._channel is None:
            raise ConnectionLost("this client is not connected, so none of its requests is live")
        self._channel.send(
            ChooseToken(
                id=self._next_id(),
                asker=self._asker,
                request=request,
                position=position,
                token=token,
            )
        )

    # -- texts that are embedded or compared -----------------------------------------------------

    embed = _asks(verbs.embed)
    rerank = _asks(verbs.rerank)

    # -- speech ----------------------------------------------------------------------------------

    def hear(
        self, recording: Recording, **keywords: Unpack[TranscribeKeywords]
    ) -> Generator[TranscriptEvent, None, None]:
        """What is said in a recording: `Heard` behind every window, and the `Transcript` last.

        recording: a file's path, or its bytes. Raises `UnsupportedAudio`, `AudioTooLong`, or
        `Unsupported` for a model that hears nothing. Leaving the iterator cancels the request.
        """
        return self._listen(speech_request("hear", recording, keywords))

    def transcribe(
        self, recording: Recording, **keywords: Unpack[TranscribeKeywords]
    ) -> Transcript:
        """The text of a recording: `hear` to its end."""
        return last_of(list(self.hear(recording, **keywords)))

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

    def _ask(self, question: Question[T]) -> T:
        """The answer to one message. Ctrl-C cancels work that nobody waits for any more."""
        request = question.message(self._next_id())
        if self._asker is not None:
            request = replace(request, asker=self._asker)
        timeout_s = question.timeout_s(self._options)
        answered = question.wait != "embed"
        try:
            value = self._call(request, timeout_s)
            answered = True
        except DeadlineExceeded:
            raise
        except UmadError:
            answered = True
            raise
        finally:
            if not answered and self._channel is not None:
                self._abandon(self._channel, request.id)
        return question.read(value)

    def _listen(self, asked: TranscribeRequest) -> Generator[TranscriptEvent, None, None]:
        """Yield the events of a transcription; raise the error it fails with."""
        channel = self._connected()
        request_id = self._next_id()
        running = True
        try:
            channel.send(Transcribe(id=request_id, asker=self._asker, request=asked))
            while running:
                event = channel.receive(request_id, self._options.event_s)
                running = not isinstance(event, Transcript | Failed)
                if isinstance(event, Failed):
                    raise error_of_failed(event)
                if isinstance(event, Heard | Transcript):
                    yield event
        finally:
            try:
                if running:
                    self._abandon(channel, request_id)
            finally:
                self._busy.release()

    def _follow(self, flow: EventFlow[T]) -> Generator[T, None, None]:
        """Yield the pieces of a generation; raise the error it fails with."""
        read = flow.reader(self.models() if flow.wants_models else ())
        with closing(self.events(flow.request)) as events:
            for event in events:
                if isinstance(event, Failed):
                    raise error_of_failed(event)
                yield from read(event)

    def _call(self, request: Request, timeout_s: float) -> Any:
        channel = self._connected()
        try:
            channel.send(request)
            message = channel.receive(request.id, timeout_s)
        finally:
            self._busy.release()
        if isinstance(message, Failed):
            raise error_of_failed(message)
        if not isinstance(message, Result):
            raise ProtocolViolation("the daemon answered a question with an event")
        return message.value
