"""Limits the requests at work, and the bytes of bodies that are still arriving.

A request takes its place once its whole body is there, so a slow body keeps no other request from
working. The last eighth of the places is for callers that hold few, so a caller that sends much
cannot take them all. The bytes of all bodies together have a limit. At the limit, the caller that
holds most loses its oldest body that is still arriving. Pure: it only tells that body's reader to
stop.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from umad.gateway.errors import Crowded, TooMany

# One in so many places is kept for callers with few; a caller with fewer than _FEW has few.
_RESERVE = 8
_FEW = 4


class Places:
    """Places for requests at work; `most` is their number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._live = 0
        self._of: dict[str, int] = {}

    @contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """A place for a request of `caller`. Raises `TooMany`."""
        own = self._of.get(caller, 0)
        if self._live >= self._most:
            raise TooMany(
                f"{self._live} requests are worked on already, at most {self._most} may be"
            )
        if self._live >= self._most - self._most // _RESERVE and own >= _FEW:
            raise TooMany(
                f"{own} of your requests are worked on already, and few places are left for others"
            )
        self._live += 1
        self._of[caller] = own + 1
        try:
            yield
        finally:
            self._live -= 1
            self._of[caller] -= 1
            if not self._of[caller]:
                del self._of[caller]


@dataclass(slots=True, eq=False)
class Body:
    """A body that is arriving, or that is complete and held."""

    caller: str
    # Called once, if the body has to make room.
    stop: Callable[[], None]
    size_bytes: int = 0
    arriving: bool = True
    stopped: bool = False


class Bodies:
    """All bodies, with at most `most_bytes` together."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0
        # The oldest first.
        self._bodies: dict[Body, None] = {}

    @contextmanager
    def one(self, caller: str, stop: Callable[[], None]) -> Iterator[Body]:
        """A body of `caller`, for as long as its bytes are held."""
        body = Body(caller, stop)
        self._bodies[body] = None
        try:
            yield body
        finally:
            del self._bodies[body]
            self._held_bytes -= body.size_bytes

    @contextmanager
    def fetched(self, caller: str) -> Iterator[Body]:
        """What is fetched for a request of `caller`, for as long as its bytes are held. It makes no
        room for others.
        """
        with self.one(caller, lambda: None) as body:
            body.arriving = False
            yield body

    def add(self, body: Body, n_bytes: int) -> None:
        """Count bytes that have come. Raises `Crowded` if there is no room for them."""
        body.size_bytes += n_bytes
        self._held_bytes += n_bytes
        while self._held_bytes > self._most_bytes:
            going = self._greediest()
            if going is None or going is body:
                raise Crowded("the bodies that arrive take too much memory; try again later")
            going.stopped = True
            going.arriving = False
            self._held_bytes -= going.size_bytes
            going.size_bytes = 0
            going.stop()

    def _greediest(self) -> Body | None:
        """The oldest arriving body of the caller that holds most, among the callers that have an
        arriving one.
        """
        held: dict[str, int] = {}
        for body in self._bodies:
            held[body.caller] = held.get(body.caller, 0) + body.size_bytes
        arriving = [body for body in self._bodies if body.arriving and body.size_bytes]
        return max(arriving, key=lambda body: held[body.caller], default=None)
