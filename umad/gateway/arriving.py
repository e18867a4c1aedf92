"""Reads the whole body of a request before its handler starts, within limits of size and time.

Not: how many bytes all bodies may take together (`door.places`). Owner: the request's task.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from umad.gateway.door.places import Bodies, Body
from umad.gateway.errors import BodyTooLarge, Crowded, EncodedBody, SlowBody

# A body may begin slowly; after this time its pace must be at least a modem's.
SLOW_AFTER_S = 5.0
LEAST_BYTES_PER_S = 1024


class ClientGone(Exception):
    """The client left before it had its answer."""


@asynccontextmanager
async def whole_body(
    scope: Scope, receive: Receive, *, bodies: Bodies, whose: str, limit: int, within_s: float
) -> AsyncIterator[bytes]:
    """A request's body, counted among all `bodies` for as long as the block lasts.

    Raises `BodyTooLarge` as soon as that is known, `EncodedBody`, `SlowBody`, `ClientGone`, and
    `Crowded` if it had to make room for others.
    """
    headers = Headers(scope=scope)
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() not in ("", "identity"):
        raise EncodedBody(f"a body is not taken as {encoding[:32]!r}; send it as it is")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    patience = asyncio.timeout(within_s)
    # A body that is stopped while it arrives counts as too slow, whatever its time.
    with bodies.one(whose, lambda: patience.reschedule(0)) as body:
        yield await _read(receive, patience, bodies, body, limit=limit, within_s=within_s)


async def _read(
    receive: Receive,
    patience: asyncio.Timeout,
    bodies: Bodies,
    body: Body,
    *,
    limit: int,
    within_s: float,
) -> bytes:
    pieces: list[bytes] = []
    size = 0
    began_s = asyncio.get_running_loop().time()
    try:
        async with patience:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                piece = message.get("body", b"")
                size += len(piece)
                if size > limit:
                    raise _too_large(limit)
                bodies.add(body, len(piece))
                pieces.append(piece)
                if not message.get("more_body", False):
                    body.arriving = False
                    return b"".join(pieces)
                if not body.stopped:
                    earned_s = max(SLOW_AFTER_S, size / LEAST_BYTES_PER_S)
                    patience.reschedule(began_s + min(within_s, earned_s))
    except TimeoutError:
        if body.stopped:
            raise Crowded("others' bodies needed the memory of this one; try again") from None
        raise SlowBody(
            f"the body did not arrive within {within_s:g} s, or came slower than "
            f"{LEAST_BYTES_PER_S} bytes a second"
        ) from None


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"a body has at most {limit} bytes (--gateway-body-bytes)")
