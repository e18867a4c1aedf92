"""A node of a real team dies in the middle of sixteen answers, and their clients do not notice."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.router.going_on import Told, Watched, question, unlikely
from tests.router.proxies import HAPROXY
from tests.router.real_team import RealTeam, front, real_team
from umad.client import AsyncClient

pytestmark = [
    pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed"),
    # Three daemons, and two times sixteen streams.
    pytest.mark.timeout(600),
]
N_STREAMS, N_TOKENS = 16, 120
NAMES = ("one", "two", "three")


@pytest.fixture
def team(short_tmp_path: Path) -> Iterator[RealTeam]:
    with real_team(short_tmp_path, NAMES) as made:
        yield made


async def answers(team: RealTeam) -> tuple[list[Watched], str]:
    """All answers, of which those of one node were cut in the middle, and another node's name."""
    streams = [
        Watched(question(number, model="nano", n_tokens=N_TOKENS)) for number in range(N_STREAMS)
    ]
    tasks = [asyncio.create_task(one.read(team.client)) for one in streams]
    await asyncio.gather(*(one.under_way.wait() for one in streams))
    live = {name: await team.live(name) for name in NAMES}
    busiest = max(live, key=lambda name: live[name])
    assert live[busiest] > 1, "nobody would notice"
    team.unplug(busiest)
    done = await asyncio.gather(*tasks)
    return done, next(name for name in NAMES if name != busiest)


def test_sixteen_streams_go_on_when_their_node_is_unplugged(team: RealTeam) -> None:
    async def run() -> list[list[tuple[int, float]]]:
        done, other = await answers(team)
        for one in done:
            assert sorted(end.index for end in one.done) == list(range(one.request.n))
            assert all(end.finish_reason == "length" for end in one.done)
            assert all(end.usage.completion_tokens == N_TOKENS for end in one.done)
            assert all(len(ids) == N_TOKENS for ids in one.ids)
        async with AsyncClient(team.nodes[other].daemon.socket) as client:
            for one in done:
                for index, ids in enumerate(one.ids):
                    assert one.texts[index] == await client.detokenize(tuple(ids), model="nano")
            return [
                await unlikely(client, one, index) for one in done for index in range(one.request.n)
            ]

    assert [found for found in asyncio.run(run()) if found] == []


async def told(http: httpx.AsyncClient, numbers: range) -> list[Told]:
    return await asyncio.gather(
        *(Told().read(http, number, model="nano", n_tokens=N_TOKENS) for number in numbers)
    )


def test_openai_clients_behind_the_teams_gateway_notice_nothing_and_others_get_an_error(
    team: RealTeam,
) -> None:
    numbers = range(6)

    async def run(address: str) -> tuple[list[Told], list[Told], list[Told], str]:
        async with (
            httpx.AsyncClient(base_url=address, timeout=600) as behind,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{team.router.port}", timeout=600
            ) as direct,
        ):
            calm = await told(behind, numbers)
            covered, plain = [Told() for _ in numbers], [Told() for _ in numbers]
            tasks = [
                asyncio.create_task(one.read(http, number, model="nano", n_tokens=N_TOKENS))
                for http, streams in ((behind, covered), (direct, plain))
                for number, one in zip(numbers, streams, strict=True)
            ]
            await asyncio.gather(*(one.under_way.wait() for one in (*covered, *plain)))
            live = {name: await team.live(name) for name in NAMES}
            busiest = max(live, key=lambda name: live[name])
            team.unplug(busiest)
            await asyncio.gather(*tasks)
            return calm, covered, plain, busiest

    with front(team) as address:
        calm, covered, plain, _ = asyncio.run(run(address))

    assert all(one.is_whole and one.reason == "length" for one in (*calm, *covered))
    assert not all(one.is_whole for one in plain), "HAProxy alone cannot go on"
    for one in plain:
        assert one.is_whole == (one.reason == "length"), "an end that is none"
