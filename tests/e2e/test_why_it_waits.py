"""`umad ps` says why a request waits."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.live import LiveDaemon, greedy, live_daemon, wait_until
from umad.client import AsyncClient, Client
from umad.request import GenerateRequest
from umad.service import Accepted, Failed

# The pool holds one such request and not two, and each takes long enough to be looked at.
CTX_SIZE = 2_560
LONG = 2_000


def reasons(daemon: LiveDaemon) -> dict[str, str | None]:
    with Client(daemon.socket) as client:
        return {row["request"]: row["waits_for"] for row in client.sessions()}


async def begin(client: AsyncClient, request: GenerateRequest) -> tuple[str, asyncio.Task[None]]:
    """Start a request; its name, and the task that reads it to its end."""
    named: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read() -> None:
        async for event in client.generate(request):
            assert not isinstance(event, Failed), event
            if isinstance(event, Accepted):
                named.set_result(event.request)

    task = asyncio.create_task(read())
    await asyncio.wait((named, task), return_when=asyncio.FIRST_COMPLETED)
    assert named.done(), task.exception()
    return named.result(), task


@pytest.mark.parametrize("what", ["no cells", "behind 1 of its app"])
def test_a_request_that_has_to_wait_says_for_what(short_tmp_path: Path, what: str) -> None:
    async def run(daemon: LiveDaemon) -> None:
        async with daemon.client() as client:
            runs, first = await begin(client, greedy("a", LONG))
            waits, second = await begin(client, greedy("b", LONG))
            last, third = await begin(client, greedy("c", LONG))
            asked = {"no cells": waits, "behind 1 of its app": last}[what]

            await asyncio.to_thread(
                wait_until, lambda: reasons(daemon).get(asked) == what, what=f"saying {what!r}"
            )
            said = await asyncio.to_thread(reasons, daemon)

            assert said.get(runs) is None
            for task in (first, second, third):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    with live_daemon(short_tmp_path, "nano", "--ctx-size", str(CTX_SIZE)) as daemon:
        asyncio.run(run(daemon))


def test_background_work_says_that_it_waits_for_the_budget(short_tmp_path: Path) -> None:
    async def run(daemon: LiveDaemon) -> None:
        async with daemon.client() as client:
            request, task = await begin(client, greedy("a", 2_000, lane="background"))

            await asyncio.to_thread(
                wait_until,
                lambda: reasons(daemon).get(request) == "budget",
                what="waiting for the budget",
            )

            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    arguments = ("nano", "--bmt-budget-gbps", "0.001GBps")
    with live_daemon(short_tmp_path, *arguments) as daemon:
        asyncio.run(run(daemon))
