"""The hub of the tests: what one test has left does not reach the next one."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.models.loopback_hub import LoopbackHub

REPOSITORY, FILE = "org/repo", "a.gguf"
DATA = bytes(range(256)) * 64


@pytest.fixture(scope="module")
def running() -> Iterator[LoopbackHub]:
    with LoopbackHub() as one:
        yield one


@pytest.fixture
def hub(running: LoopbackHub) -> LoopbackHub:
    running.reset()
    running.add(REPOSITORY, {FILE: DATA})
    return running


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(verify=False, timeout=20) as one:
        yield one


def address(hub: LoopbackHub, client: httpx2.Client) -> str:
    """Where the hub sends on to."""
    answer = client.head(f"{hub.url}/{REPOSITORY}/resolve/main/{FILE}")
    return str(answer.headers["Location"])


def test_what_is_held_back_is_sent_to_the_byte(hub: LoopbackHub, client: httpx2.Client) -> None:
    hub.hold_after(1000)
    with client.stream("GET", address(hub, client)) as answer:
        pieces = answer.iter_raw()
        got = next(pieces)
        while len(got) < 1000:
            got += next(pieces)
        hub.release()
        got += b"".join(pieces)

    assert got == DATA


def test_a_body_from_before_takes_nothing_of_what_a_later_download_may_be_sent(
    hub: LoopbackHub, client: httpx2.Client
) -> None:
    hub.hold_after(0)
    with client.stream("GET", address(hub, client)) as answer:
        hub.hold_after(1000)

        with pytest.raises(httpx2.RemoteProtocolError):
            answer.read()

    assert hub.sent_bytes == 0


def test_an_address_from_an_earlier_test_is_good_for_nothing(
    hub: LoopbackHub, client: httpx2.Client
) -> None:
    earlier = address(hub, client)
    hub.reset()
    hub.add(REPOSITORY, {FILE: DATA})
    address(hub, client)
    hub.hold_after(1000)

    late = client.get(earlier)

    assert (late.status_code, hub.sent_bytes, hub.ranges()) == (403, 0, [])
