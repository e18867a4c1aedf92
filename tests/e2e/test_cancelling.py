"""A request that is given up, or whose client is gone, lets go of its cells within one step, in
whatever state it is, and no other stream notices."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tests.live import LiveDaemon, Stream, collect, greedy, wait_until
from umad.client import AsyncClient
from umad.request import GenerateRequest
from umad.service import Accepted, Event, Progress, Tokens

LONG_PROMPT = "value = compute(value, 3)\n" * 60
# Outlives the other request, on a machine whose cores are elsewhere too.
PROMPT = "class Queue:\n    def __init__(self):\n        "
BYSTANDER = greedy(PROMPT, 2000)
# What the bystander's cells may be ahead of the tokens that have reached it; the other has 600.
AHEAD_CELLS = 200


async def reach(
    client: AsyncClient, request: GenerateRequest, state: str
) -> AsyncGenerator[Event, None]:
    """Start a request and read until it is in `state`."""
    events = client.generate(request)
    async for event in events:
        if state == "queued" and isinstance(event, Accepted):
            break
        if state == "prefill" and isinstance(event, Progress):
            assert event.done_tokens < event.total_tokens
            break
        if state == "generating" and isinstance(event, Tokens):
            break
    return events


def undisturbed(daemon: LiveDaemon) -> list[int]:
    async def run() -> Stream:
        async with daemon.client() as client:
            return await collect(client, greedy(PROMPT, 3))

    return asyncio.run(run()).ids


@pytest.mark.parametrize("state", ["queued", "prefill", "generating"])
@pytest.mark.parametrize("how", ["cancel", "close"])
def test_giving_up_frees_the_cells_and_disturbs_nobody(
    daemon: LiveDaemon, state: str, how: str
) -> None:
    alone = undisturbed(daemon)
    wait_until(lambda: daemon.cells_used() == 0, what="the end of earlier requests")

    async def run() -> Stream:
        async with daemon.client() as bystander, daemon.client() as leaver:
            peer = Stream(enough_tokens=3)
            task = asyncio.create_task(collect(bystander, BYSTANDER, peer))
            await asyncio.wait_for(peer.enough.wait(), 60)
            events = await asyncio.wait_for(reach(leaver, greedy(LONG_PROMPT, 1000), state), 60)
            if how == "cancel":
                await events.aclose()
            else:
                await leaver.close()
            while (await bystander.metrics())["kv_cells_used"] > len(peer.ids) + AHEAD_CELLS:
                assert not task.done(), "the cells were not given back while others ran"
            peer.enough.clear()
            peer.enough_tokens = len(peer.ids) + 100
            await asyncio.wait_for(peer.enough.wait(), 60)
            await bystander.close()
            await asyncio.gather(task, return_exceptions=True)
            return peer

    peer = asyncio.run(run())

    # Token for token up to where the other came; behind that its holes in the pool may be reused,
    # and the order of cells is the order of summation (bench/determinism.py).
    assert peer.failed is None
    assert len(peer.ids) >= peer.enough_tokens, "it went on"
    assert peer.ids[:3] == alone
    wait_until(lambda: daemon.cells_used() == 0, what="giving back the last cells")


def test_cancel_from_another_connection_ends_the_request_and_says_so(daemon: LiveDaemon) -> None:
    async def run() -> Stream:
        async with daemon.client() as owner, daemon.client() as other:
            stream = Stream(enough_tokens=3)
            task = asyncio.create_task(collect(owner, greedy("x = ", 2000), stream))
            await asyncio.wait_for(stream.enough.wait(), 60)
            (row,) = await other.sessions()
            await other.cancel(row["request"])
            await asyncio.wait_for(task, 60)
            return stream

    stream = asyncio.run(run())

    assert stream.done is not None
    assert stream.done.finish_reason == "cancelled"
    assert stream.done.usage.completion_tokens < 2000
