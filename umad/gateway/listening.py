"""Lets listeners (the log, a trace, a quota) hear a generation without delaying it.

Only a generation with listeners goes through this module; for others `umad.gateway.gateway_call`
asks the daemon directly. Not: the listeners (`umad.gateway.text_log`, `umad.gateway.spans`,
`umad.gateway.metering`).
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol, cast

from umad.errors import UmadError
from umad.protocol.errors import error_of_failed
from umad.request import GenerateRequest
from umad.service import Accepted, Done, Event, Failed, Progress, Service, Take, Tokens


class Listener(Protocol):
    """Hears one generation, on the loop. It must neither block nor raise."""

    def hear(self, event: Accepted | Tokens | Done) -> None:
        """One event of it, in order."""

    def end(self, error: UmadError | None) -> None:
        """The generation is over: whole, failed, or closed by its caller. Called once."""


class Listened:
    """The part of a `Service` that generates, with listeners. `counted` hears how many tokens the
    prompt has, as soon as the engine says so.
    """

    def __init__(
        self,
        service: Service,
        listeners: Sequence[Listener],
        counted: Callable[[int], None] | None = None,
    ) -> None:
        self._service = service
        self._listeners = tuple(listeners)
        self._counted = counted

    async def events(
        self, request: GenerateRequest, *, take: Take | None = None
    ) -> AsyncGenerator[Event, None]:
        """The events of `Service.events`, heard by the listeners."""
        failure: UmadError | None = None
        heard = None if take is None else self._heard(take)
        events = cast(AsyncGenerator[Event, None], self._service.events(request, take=heard))
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Failed):
                        failure = error_of_failed(event)
                    elif isinstance(event, Accepted | Tokens | Done):
                        for one in self._listeners:
                            one.hear(event)
                    elif isinstance(event, Progress) and self._counted is not None:
                        self._counted(event.total_tokens)
                    yield event
        except UmadError as error:
            failure = error
            raise
        finally:
            for one in self._listeners:
                one.end(failure)

    def _heard(self, take: Take) -> Take:
        """Wraps `take`, so that listeners hear the tokens it takes; the others are heard on their
        way out of the iterator.
        """

        def heard(event: Tokens) -> bool:
            if not take(event):
                return False
            for one in self._listeners:
                one.hear(event)
            return True

        return heard
