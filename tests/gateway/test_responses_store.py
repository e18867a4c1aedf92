import asyncio
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.gateway.scripted_service import Scripted, post
from umad.config import HttpSettings
from umad.gateway.errors import StoreFailed
from umad.gateway.responses_store import ResponsesStore, Stored


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResponsesStore]:
    one = ResponsesStore(tmp_path / "deep" / "responses.sqlite3", limit_bytes=1000)
    yield one
    one.close()


def of(size: int) -> Stored:
    return Stored(response="r" * size, items="")


def test_the_oldest_make_room_for_the_newest(store: ResponsesStore) -> None:
    async def scenario() -> list[bool]:
        for name in "abc":
            await store.put(name, "me", of(400))
        return [await store.get(name, "me") is not None for name in "abc"]

    assert asyncio.run(scenario()) == [False, True, True]


def test_one_that_is_larger_than_the_store_does_not_empty_it(store: ResponsesStore) -> None:
    async def scenario() -> list[bool]:
        await store.put("a", "me", of(400))
        await store.put("b", "me", of(4000))
        return [await store.get(name, "me") is not None for name in "ab"]

    assert asyncio.run(scenario()) == [True, False]


def test_what_one_key_stored_another_neither_reads_nor_deletes(store: ResponsesStore) -> None:
    async def scenario() -> tuple[Stored | None, bool, Stored | None]:
        await store.put("a", "me", of(4))
        return (
            await store.get("a", "you"),
            await store.delete("a", "you"),
            await store.get("a", "me"),
        )

    assert asyncio.run(scenario()) == (None, False, of(4))


def test_it_outlives_the_gateway_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite3"
    first = ResponsesStore(path, limit_bytes=1000)
    asyncio.run(first.put("a", "me", of(4)))
    first.close()
    second = ResponsesStore(path, limit_bytes=1000)

    assert asyncio.run(second.get("a", "me")) == of(4)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second.close()


def in_a_row(sizes: Sequence[int], limit_bytes: int, folder: Path) -> list[int]:
    """Statuses of responses that each go on from the one before, of inputs this long."""
    settings = HttpSettings(store=str(folder / "r.sqlite3"), store_bytes=limit_bytes)
    statuses, previous = [], None
    for size in sizes:
        body = {"input": "x" * size, "previous_response_id": previous}
        answer = post(Scripted(["Yes."]), "/v1/responses", body, settings)
        statuses.append(answer.status_code)
        previous = answer.json().get("id")
    return statuses


def test_a_conversation_goes_on_while_it_fits_and_says_when_it_is_no_longer_kept(
    tmp_path: Path,
) -> None:
    statuses = in_a_row([100, 100, 9000, 100], 10_000, tmp_path)

    assert statuses == [200, 200, 200, 404]


def test_a_long_conversation_makes_room_for_itself(tmp_path: Path) -> None:
    statuses = in_a_row([1000] * 6, 16_000, tmp_path)

    assert statuses == [200] * 6
    assert (tmp_path / "r.sqlite3").stat().st_size < 200_000


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite3"
    path.write_bytes(b"not a database" * 100)
    store = ResponsesStore(path, limit_bytes=1000)

    with pytest.raises(StoreFailed, match="--gateway-store"):
        asyncio.run(store.get("a", "me"))
    store.close()
