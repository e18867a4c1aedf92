"""Carries one request to a router until it has ended, over as many exchanges as that takes.

What ends an exchange, and what comes of it:

    the answer is whole                     done
    it was cut, or its machine gave up      the rest is asked for: another machine goes on with it
    nobody can serve it now (502, 503)      asked again, for some seconds
    the machine has another model           asked again elsewhere, some times
    a machine took it, and nothing came     asked again elsewhere, a few times: such a request may
                                            be what ends the machines' engines
    it was refused                          the refusal is the request's error

Nothing is computed twice: a request is sent again only after its exchange has ended, and a machine
that sees an exchange end cancels what it computes for it. Not: what the rest is
(`umad.client.remote.progress`).
Owner: one task for each request.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Final

from umad.client.remote.address import RemoteAddress
from umad.client.remote.exchange import Exchange, Exchanges, Outcome
from umad.client.remote.placing import placing_headers
from umad.errors import ConnectionLost, OtherModel, ProtocolViolation, UmadError
from umad.protocol.errors import error_of, error_of_failed
from umad.protocol.messages import Message, Request, encode_request, parse_event
from umad.service import Accepted, Failed, Loading, Progress

PATH: Final = "/frames"
# A machine that is unplugged is noticed by the checks of a router within some seconds.
MOST_SILENT_S: Final = 30.0
_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.05, 1.0
# Draws of another machine, where some have another model under the same name.
_MOST_DRAWS: Final = 16
# Machines in a row that take a request and bring nothing of its answer.
_MOST_IN_VAIN: Final = 3
# What tells of a request, and is nothing of its answer.
_NO_ANSWER: Final = (Accepted, Loading, Progress)
# A machine says so of itself, and not of the request.
_MACHINE_GONE: Final = frozenset({"no_daemon", "connection_lost", "shutting_down", "engine_failed"})
# HAProxy's, without a word of a machine. 502: the machine ended the connection before it answered.
_NOBODY: Final = frozenset({0, 502, 503})


class Carrying:
    """One request. `next_request` makes what is to be sent now; `hear` gets every message, and
    returns whether the request is over.
    """

    def __init__(
        self,
        exchanges: Exchanges,
        address: RemoteAddress,
        *,
        next_request: Callable[[], Request],
        hear: Callable[[Message, int], bool],
        goes_on: Callable[[Exchange | None], None],
    ) -> None:
        """goes_on: told of each exchange before it begins, and None when it has ended."""
        self._exchanges = exchanges
        self._address = address
        self._next_request = next_request
        self._hear = hear
        self._goes_on = goes_on
        self._is_over = False
        # Why the exchange that runs has to be followed by another one.
        self._trouble: UmadError | None = None
        self._has_heard = False
        self._has_answer = False
        self._draw = 0

    async def run(self) -> None:
        """Return once the request is over. Raises the error that it ends with."""
        loop = asyncio.get_running_loop()
        quiet_since_s, pause_s, n_in_vain = loop.time(), _FIRST_PAUSE_S, 0
        has_begun = False
        while True:
            self._trouble, self._has_heard, self._has_answer = None, False, False
            request = self._next_request()
            try:
                outcome = await self._exchange(request)
            except ConnectionLost as error:
                outcome = Outcome(status=0, is_whole=False)
                self._trouble = error
            if self._is_over:
                return
            trouble = self._trouble or _trouble_of(outcome)
            has_begun = has_begun or self._has_answer
            if self._has_heard:
                quiet_since_s = loop.time()
            if isinstance(trouble, OtherModel):
                self._draw += 1
                if self._draw > _MOST_DRAWS:
                    if not has_begun:
                        raise trouble  # it is the client itself that resumes an answer
                    raise ConnectionLost(
                        "the answer was cut, and no machine was found whose model can go on with it"
                    )
                continue
            if self._has_heard:
                n_in_vain = 0 if self._has_answer else n_in_vain + 1
            if n_in_vain >= _MOST_IN_VAIN or loop.time() - quiet_since_s > MOST_SILENT_S:
                raise trouble
            if self._has_answer:
                pause_s = _FIRST_PAUSE_S
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _MOST_PAUSE_S)

    async def _exchange(self, request: Request) -> Outcome:
        data = self._written(request)
        exchange = await self._exchanges.opened()
        outcome: Outcome | None = None
        try:
            self._goes_on(exchange)
            outcome = await exchange.begin(data, self._take)
            return outcome
        finally:
            self._goes_on(None)
            if outcome is not None and outcome.is_whole:
                self._exchanges.rest(exchange)
            else:
                exchange.abort()

    def _take(self, body: bytes) -> None:
        """One frame of the answer. Nothing that follows the end of a request counts."""
        if self._is_over or self._trouble is not None:
            return
        _, message = parse_event(body)
        if isinstance(message, Failed) and message.code in {*_MACHINE_GONE, OtherModel.code}:
            self._trouble = error_of_failed(message)
            return
        self._has_heard = True
        self._has_answer |= not isinstance(message, _NO_ANSWER)
        try:
            self._is_over = self._hear(message, len(body))
        except (IndexError, OverflowError, TypeError) as error:
            raise ProtocolViolation("a completion is told of that nobody asked for") from error

    def _written(self, request: Request) -> bytes:
        address, body = self._address, encode_request(request)
        headers = {
            "host": address.authority,
            "content-type": "application/vnd.umad.frames",
            "content-length": str(len(body)),
            **placing_headers(request, draw=self._draw),
        }
        if address.key is not None:
            headers["authorization"] = f"Bearer {address.key}"
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + body


def _trouble_of(outcome: Outcome) -> UmadError:
    """Why another exchange is needed. Raises what is an answer to the request itself."""
    if outcome.status == 200:
        return ConnectionLost("the answer was cut before it was complete")
    error = _told(outcome)
    if error is not None and error.code not in _MACHINE_GONE:
        raise error
    if error is None and outcome.status not in _NOBODY:
        raise ConnectionLost(f"the router answers with {outcome.status}")
    return error or ConnectionLost(
        "no machine can serve this now"
        if outcome.status
        else "the connection ended before an answer came"
    )


def _told(outcome: Outcome) -> UmadError | None:
    """The error that a gateway tells in its answer; None where it is not one of umad's."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        said = json.loads(outcome.refusal)["error"]
        field = said.get("param")
        return error_of(
            str(said["code"]),
            str(said["message"]),
            None if field is None else str(field),
            retryable=outcome.status in (429, 503),
        )
    return None
