"""Writes vectors as JSON, one row at a time.

The numbers of a whole library of texts take a second to write in decimal, and other streams must
not wait for that.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response, StreamingResponse

from umad.gateway.sse import encode_json


def rows_response(
    vectors: Iterable[NDArray[np.float32]],
    *,
    name: str | None,
    row: Callable[[int, list[float]], Any],
    rest: dict[str, Any] | None = None,
) -> Response:
    """`{name: [rows], **rest}`, or without a name the rows alone."""

    async def pieces() -> AsyncGenerator[str, None]:
        yield "[" if name is None else f"{{{encode_json(name)}:["
        for at, one in enumerate(vectors):
            yield ("," if at else "") + encode_json(row(at, one.tolist()))
            await asyncio.sleep(0)
        if name is None:
            yield "]"
        else:
            yield "]," + encode_json(rest)[1:] if rest else "]}"

    return StreamingResponse(pieces(), media_type="application/json")
