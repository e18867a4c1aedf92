"""Rings of logits: each client has its own, to read, with rows of nobody else's."""

import asyncio
import fcntl
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.live import LiveDaemon, live_daemon
from umad.asker import Asker
from umad.client import AsyncClient
from umad.client.attaching import AttachedRing
from umad.errors import UmadError, UnknownRequest
from umad.request import GenerateRequest, LogitsUse, SamplingParams
from umad.sampling.ring import RingLayout, RingReader
from umad.service import Accepted, Logits

SAMPLING = SamplingParams(temperature=0, max_tokens=400, ignore_eos=True)
KEY = Asker(owner="key:1", role="user")
ADMIN_KEY = Asker(owner="key:2", role="admin")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    with live_daemon(tmp_path_factory.mktemp("rings")) as one:
        yield one


async def started(client: AsyncClient, prompt: str = "one two", logits: LogitsUse = "read") -> str:
    """A request that waits for its ring to be attached; the daemon's name for it."""
    events = client.events(GenerateRequest(prompt=prompt, sampling=SAMPLING, logits=logits))
    accepted = await anext(events)
    assert isinstance(accepted, Accepted)
    waits = await anext(events)
    assert isinstance(waits, Logits)
    keep.append(events)
    return accepted.request


keep: list[object] = []


def test_nobody_attaches_what_another_owner_asked_for_through_the_same_front_end(
    daemon: LiveDaemon,
) -> None:
    async def scenario() -> None:
        async with AsyncClient(daemon.socket) as front_end:
            name = await started(front_end.on_behalf(KEY))
            for other in (front_end, front_end.on_behalf(ADMIN_KEY)):
                with pytest.raises(UnknownRequest):
                    await other.attach(name)
            ring = await front_end.on_behalf(KEY).attach(name)
            os.close(ring.fd)

    asyncio.run(scenario())


ATTACH = """
import asyncio, sys
from umad.client import AsyncClient
async def main():
    async with AsyncClient(sys.argv[1]) as client:
        await client.attach(sys.argv[2])
try:
    asyncio.run(main())
except Exception as error:
    print(type(error).__name__)
"""


def test_another_process_attaches_nothing(daemon: LiveDaemon) -> None:
    async def scenario() -> str:
        async with AsyncClient(daemon.socket) as client:
            name = await started(client)
            ended = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", ATTACH, str(daemon.socket), name],
                capture_output=True,
                text=True,
                timeout=60,
            )
            return ended.stdout.strip()

    assert asyncio.run(scenario()) == "UnknownRequest"


def is_denied(work: Callable[[], object]) -> None:
    """The kernel does not let it happen."""
    with pytest.raises(OSError, match=r"not permitted|denied|Bad file descriptor|Invalid argument"):
        work()


async def attached(
    daemon: LiveDaemon, prompt: str, logits: LogitsUse = "read"
) -> tuple[AttachedRing, AsyncClient]:
    client = AsyncClient(daemon.socket)
    return await client.attach(await started(client, prompt, logits)), client


def test_a_rings_descriptor_is_for_reading_whatever_is_done_with_it(daemon: LiveDaemon) -> None:
    async def scenario() -> None:
        ring, client = await attached(daemon, "one")
        try:
            size = ring.layout["n_bytes"]
            assert fcntl.fcntl(ring.fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
            is_denied(lambda: os.write(ring.fd, b"x"))
            is_denied(lambda: os.ftruncate(ring.fd, 0))
            is_denied(lambda: mmap.mmap(ring.fd, size, prot=mmap.PROT_WRITE))
            if sys.platform == "linux":
                # The file behind it may be opened anew; what is sealed stays so.
                again = os.open(f"/proc/self/fd/{ring.fd}", os.O_RDWR)
                is_denied(lambda: os.write(again, b"x"))
                is_denied(lambda: mmap.mmap(again, size, prot=mmap.PROT_WRITE))
                os.close(again)
        finally:
            os.close(ring.fd)
            await client.close()

    asyncio.run(scenario())


def test_a_new_ring_holds_no_row_of_an_older_one(daemon: LiveDaemon) -> None:
    """Memory of a ring that was given back is not handed on with what was in it."""

    async def scenario() -> None:
        ring, client = await attached(daemon, "one two three")
        layout = RingLayout.of_map(ring.layout)
        with mmap.mmap(ring.fd, layout.n_bytes, prot=mmap.PROT_READ) as memory:
            reader = RingReader(layout, memory)
            async with asyncio.timeout(60):
                while not any(reader.holds(at) for at in range(20, 400)):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            del reader
        os.close(ring.fd)
        await client.close()

        # It has written its first row, or is about to, and waits for a choice that does not come.
        ring, client = await attached(daemon, "four five", "choose")
        layout = RingLayout.of_map(ring.layout)
        with mmap.mmap(ring.fd, layout.n_bytes, prot=mmap.PROT_READ) as memory:
            others = memory[layout.as_map()["rows_at"] + layout.row_bytes :]
        os.close(ring.fd)
        await client.close()
        assert len(others) == (layout.slots - 1) * layout.row_bytes
        assert not any(others)

    asyncio.run(scenario())


def test_two_rings_side_by_side_are_two(daemon: LiveDaemon) -> None:
    async def scenario() -> None:
        first, one = await attached(daemon, "one two")
        second, other = await attached(daemon, "three four")
        try:
            assert os.fstat(first.fd).st_ino != os.fstat(second.fd).st_ino
        finally:
            for ring, client in ((first, one), (second, other)):
                os.close(ring.fd)
                await client.close()

    asyncio.run(scenario())


def test_a_choice_is_taken_from_who_asked_alone(daemon: LiveDaemon) -> None:
    async def scenario() -> None:
        async with AsyncClient(daemon.socket) as front_end:
            name = await started(front_end.on_behalf(KEY))
            before = await front_end.on_behalf(KEY).sessions()
            front_end.on_behalf(ADMIN_KEY).choose(name, 0, 5)
            await front_end.ping()
            after = await front_end.on_behalf(KEY).sessions()
            assert [row["request"] for row in after] == [row["request"] for row in before]

    try:
        asyncio.run(scenario())
    except UmadError as error:  # pragma: no cover
        pytest.fail(str(error))
