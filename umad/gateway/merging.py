"""Runs several generations side by side: their events in one stream, or all of them to their ends.

Serves bodies with a list of prompts. Not: starting them (`GatewayCall.open`). Owner: one task, with
one more for each generation until it ends.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from umad.errors import UmadError
from umad.gateway.generation import Heard

# A slow reader delays its own generations, instead of filling the gateway's memory.
QUEUED = 64
T = TypeVar("T")


async def gathered(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all of `work`, in order. The first failure ends the others and is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def merged(
    generations: Sequence[AsyncIterable[Heard]],
) -> AsyncGenerator[tuple[int, Heard], None]:
    """(index of the generation, event) until all have ended. Raises the first failure."""
    queue: asyncio.Queue[tuple[int, Heard | UmadError | None]] = asyncio.Queue(QUEUED)

    async def pump(at: int, generation: AsyncIterable[Heard]) -> None:
        try:
            async for event in generation:
                await queue.put((at, event))
            await queue.put((at, None))
        except UmadError as error:
            await queue.put((at, error))

    if len(generations) == 1:
        async for event in generations[0]:
            yield 0, event
        return
    pumps = [asyncio.create_task(pump(at, one)) for at, one in enumerate(generations)]
    running = len(pumps)
    try:
        while running:
            at, said = await queue.get()
            if isinstance(said, UmadError):
                raise said
            if said is None:
                running -= 1
            else:
                yield at, said
    finally:
        for one in pumps:
            one.cancel()
        await asyncio.wait(pumps)
