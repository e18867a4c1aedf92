"""A daemon that is started again is found by clients that had it: what is asked meanwhile waits for
it, and the log says that it went and that it is back.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from typing_extensions import override

from tests.client.scripted_daemon import PATIENCE_S, Peer, daemon, daemon_thread, run
from umad.client import AsyncClient, Client, ClientOptions
from umad.client.connection import Connection
from umad.errors import ConnectionLost, NoDaemon
from umad.protocol.messages import encode_result

PATIENT = ClientOptions(return_s=PATIENCE_S)
HASTY = ClientOptions(return_s=0.1)
AT_ONCE = ClientOptions(return_s=0.0)


async def answer(peer: Peer) -> None:
    """Answer every request until the client hangs up."""
    while True:
        request = await peer.hear()
        peer.say(encode_result(request.id, None))


class Told(logging.Handler):
    """What the client's log says, as it says it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.looks = threading.Event()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if "looking for it" in record.getMessage():
            self.looks.set()


@pytest.fixture
def told() -> Iterator[Told]:
    log, handler = logging.getLogger("umad.client.returning"), Told()
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


def test_a_blocking_client_waits_for_the_daemon_to_come_back_and_says_so(
    path: str, told: Told
) -> None:
    client = Client(path, options=PATIENT)
    with daemon_thread(path, answer):
        client.ping()

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.ping)
        assert told.looks.wait(PATIENCE_S)
        assert not asked.done()
        with daemon_thread(path, answer):
            asked.result(PATIENCE_S)
    client.close()

    assert told.lines[0].startswith("the daemon has gone; looking for it")
    assert told.lines[1].startswith("connected again to the daemon server=scripted after_s=")
    assert len(told.lines) == 2


def test_all_that_is_asked_of_an_asynchronous_client_waits_for_one_connection(
    path: str, told: Told
) -> None:
    async def main() -> None:
        client = AsyncClient(path, options=PATIENT)
        await had(client, path)
        asked = [asyncio.ensure_future(client.ping()) for _ in range(3)]
        await until(told.looks.is_set)
        async with daemon(path, answer):
            await asyncio.gather(*asked)
            await client.close()

    run(main())
    assert ["again" in line for line in told.lines] == [False, True]


async def had(client: AsyncClient, path: str) -> None:
    """Let the client have a daemon, and then know that it has none any more."""
    async with daemon(path, answer):
        await client.ping()
    connection = client._link.connection
    assert isinstance(connection, Connection)
    await until(lambda: not connection.is_open)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what is waited for wakes nobody
        await asyncio.sleep(0.01)


def test_a_daemon_that_stays_away_is_told_of_as_ever(path: str) -> None:
    async def main() -> None:
        client = AsyncClient(path, options=HASTY)
        await had(client, path)
        await client.ping()

    with pytest.raises(NoDaemon, match="umad serve"):
        run(main())
    blocking = Client(path, options=HASTY)
    with daemon_thread(path, answer):
        blocking.ping()
    with pytest.raises(NoDaemon, match="umad serve"):
        blocking.ping()
    blocking.close()


def test_who_does_not_want_to_wait_is_told_at_once(path: str, told: Told) -> None:
    with daemon_thread(path, answer):
        client = Client(path, options=AT_ONCE)
        client.ping()

    with pytest.raises(NoDaemon):
        client.ping()

    client.close()
    assert told.lines == []


def test_a_first_connection_waits_for_nobody(path: str, told: Told) -> None:
    with pytest.raises(NoDaemon):
        Client(path, options=PATIENT).ping()
    with pytest.raises(NoDaemon):
        run(AsyncClient(path, options=PATIENT).ping())

    assert told.lines == []


def test_closing_a_client_ends_its_wait(path: str, told: Told) -> None:
    async def main() -> BaseException | None:
        client = AsyncClient(path, options=PATIENT)
        await had(client, path)
        asked = asyncio.ensure_future(client.ping())
        await until(told.looks.is_set)
        await client.close()
        await asyncio.wait([asked])
        return asked.exception()

    ended = run(main())

    assert isinstance(ended, ConnectionLost)
    assert "this client was closed" in ended.message
