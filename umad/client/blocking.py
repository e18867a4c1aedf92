"""`Client`: the daemon for a program without an event loop, one request at a time.

A socket of its own (`umad.client.channel`) and neither a loop nor a thread behind it. The method
names and what they return are those of `umad.service.Service`. Belongs to one thread.
"""

import os
import threading
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from types import TracebackType
from typing import Any, Self

from umad.client.attaching import AttachedRing, attach_ring
from umad.client.channel import Channel
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
from umad.clock import Clock, MonotonicClock
from umad.embedding import Embeddings, EmbedRequest, Ranking, RerankRequest
from umad.errors import (
    ConnectionLost,
    DeadlineExceeded,
    LimitExceeded,
    ProtocolViolation,
    UmadError,
)
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
    Request,
    RequestId,
    Rerank,
    Result,
    Sessions,
    Tokenize,
    Unload,
    Welcome,
)
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Event, Failed, Tokens


class Client:
    """Connects at its first use and again after a loss.

    path: the daemon's socket; None for the default (`umad.socket_path`). Every method may raise
    `NoDaemon`, `Refused`, `ConnectionLost` and `DeadlineExceeded` besides what it says, and
    `LimitExceeded` while an iterator of this client is open or another thread uses it: two requests
    at once are two clients.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        options: ClientOptions | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._path = socket_path(path)
        self._options = options or DEFAULT_OPTIONS
        self._clock = clock or MonotonicClock()
        self._channel: Channel | None = None
        self._last_id = 0
        # Held by the one request that may be under way: a second thread would take its answers.
        self._busy = threading.Lock()
        self._closed = False

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
        """Close the connection. What runs on it is cancelled; the client is not used again."""
        self._closed = True
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _connected(self) -> Channel:
        """The connection, for one request, whose end releases `_busy`."""
        if self._closed:
            raise ConnectionLost("this client was closed")
        if not self._busy.acquire(blocking=False):
            raise LimitExceeded(
                "this client is in use: read its open iterator to the end or close it, or use a "
                "second client; threads need one each"
            )
        try:
            if self._channel is None or not self._channel.is_alive():
                self._channel = Channel.open(self._path, self._options, self._clock)
        except BaseException:
            self._busy.release()
            raise
        return self._channel

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    # -- generation ------------------------------------------------------------------------------

    def generate(self, request: GenerateRequest) -> Generator[Event, None, None]:
        """Events of one request, ending with `Done` of every index or `Failed`.

        Leaving the iterator, or Ctrl-C in it, cancels the request.
        """
        request.check()
        channel = self._connected()
        request_id = self._next_id()
        running = request.n
        try:
            channel.send(Generate(id=request_id, request=request))
            while running:
                event = channel.receive(request_id, self._options.event_s)
                if isinstance(event, Welcome | Result):
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
        """Cancel; what still comes for the request is dropped by the next one."""
        if not channel.is_alive():
            return
        # A connection that is lost or full meanwhile is closed, which cancels its requests as well.
        with suppress(ConnectionLost, DeadlineExceeded):
            channel.send(Cancel(id=self._next_id(), own_id=request_id))

    def text(
        self,
        prompt: Prompt,
        *,
        model: str | None = None,
        lane: str | None = None,
        session: str | None = None,
        sampling: SamplingParams | None = None,
    ) -> Generator[str, None, None]:
        """Pieces of the text that follows `prompt`, as they come. Raises what ends it early."""
        request = request_for(prompt, model=model, lane=lane, session=session, sampling=sampling)
        with closing(self.generate(request)) as events:
            for event in events:
                if isinstance(event, Tokens):
                    yield event.text
                elif isinstance(event, Failed):
                    raise error_of_failed(event)

    def complete(
        self,
        prompt: Prompt,
        *,
        model: str | None = None,
        lane: str | None = None,
        session: str | None = None,
        sampling: SamplingParams | None = None,
    ) -> str:
        """The text that follows `prompt`; as far as it came when somebody cancelled it."""
        return "".join(
            self.text(prompt, model=model, lane=lane, session=session, sampling=sampling)
        )

    def attach(self, request: str, *, choose: bool = False) -> AttachedRing:
        """The ring of logits of a live request of this process, by the daemon's id
        (`Accepted.request`). `umad.client.logits` does this by itself.

        choose: from the next row on the client chooses the tokens. Raises `UnknownRequest`.
        """
        return attach_ring(self._path, self._options, self._clock, request, choose=choose)

    def choose(self, request: str, position: int, token: int) -> None:
        """Let `token` be number `position` of a request that waits for it. Nothing is answered:
        a choice that cannot be meant ends the request with an error. Raises `ConnectionLost`."""
        if self._channel is None:
            raise ConnectionLost("this client is not connected, so none of its requests is live")
        self._channel.send(
            ChooseToken(id=self._next_id(), request=request, position=position, token=token)
        )

    # -- texts that are embedded or compared -----------------------------------------------------

    def embed(self, request: EmbedRequest) -> Embeddings:
        """A vector for each text. Ctrl-C in it cancels the request."""
        request.check()
        return as_embeddings(self._work(Embed(id=self._next_id(), request=request)))

    def rerank(self, request: RerankRequest) -> Ranking:
        """Documents in the order in which they answer a query; of a reranking model only."""
        request.check()
        return as_ranking(self._work(Rerank(id=self._next_id(), request=request)))

    def _work(self, request: Request) -> Any:
        answered = False
        try:
            value = self._call(request, self._options.embed_s)
            answered = True
        except DeadlineExceeded:
            raise
        except UmadError:
            answered = True
            raise
        finally:
            if not answered and self._channel is not None:
                self._abandon(self._channel, request.id)
        return value

    # -- single answers --------------------------------------------------------------------------

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

    def tokenize(
        self, text: str, *, model: str | None = None, special: bool = True
    ) -> tuple[int, ...]:
        """Token ids of `text`; special: recognise control tokens in it."""
        request = Tokenize(id=self._next_id(), text=text, model=model, special=special)
        return as_ids(self._call(request, self._options.call_s))

    def detokenize(self, ids: tuple[int, ...], *, model: str | None = None) -> str:
        """Text of `ids`."""
        request = Detokenize(id=self._next_id(), ids=ids, model=model)
        return as_text(self._call(request, self._options.call_s))

    def pieces(self, ids: tuple[int, ...], *, model: str | None = None) -> tuple[bytes, ...]:
        """Bytes of each of `ids`; those of one token may be part of a character."""
        request = Detokenize(id=self._next_id(), ids=ids, model=model, pieces=True)
        return as_pieces(self._call(request, self._options.call_s))

    def cancel(self, request: str) -> None:
        """End a request by the daemon's id for it. Raises `UnknownRequest`."""
        self._call(Cancel(id=self._next_id(), request=request), self._options.call_s)

    def set_priority(self, target: str, lane: str) -> int:
        """Move a session's or request's work to `lane`; how many requests moved."""
        request = Priority(id=self._next_id(), target=target, lane=lane)
        return as_count(self._call(request, self._options.call_s))

    def load(self, model: str) -> Mapping[str, Any]:
        """Load a model and wait until it is ready; its facts."""
        return as_facts(self._call(Load(id=self._next_id(), model=model), self._options.load_s))

    def unload(self, model: str) -> None:
        """Stop a model's engine; its running requests fail."""
        self._call(Unload(id=self._next_id(), model=model), self._options.call_s)

    def models(self) -> list[Mapping[str, Any]]:
        """Every loaded or loading model with its facts."""
        return as_rows(self._call(Models(id=self._next_id()), self._options.call_s))

    def sessions(self) -> list[Mapping[str, Any]]:
        """Every live request and pinned session."""
        return as_rows(self._call(Sessions(id=self._next_id()), self._options.call_s))

    def metrics(self) -> Mapping[str, Any]:
        """The scorecard."""
        return as_facts(self._call(Metrics(id=self._next_id()), self._options.call_s))

    def ping(self) -> None:
        """Return once the daemon has answered."""
        self._call(Ping(id=self._next_id()), self._options.call_s)
