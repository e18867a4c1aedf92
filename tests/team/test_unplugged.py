"""A node's cable is pulled in the middle of sixteen answers, and their clients do not notice.

Unlike a process that dies (tests/router/test_going_on.py), an unplugged machine resets no
connection: it is only silent, and HAProxy's check has to find that out.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.real_weights import gemma
from tests.router.going_on import TIE, Watched, question, unlikely
from tests.router.team import until
from tests.team.lan import lan
from tests.team.network_team import DESK, FRONT, NODES, NetworkTeam, network_team
from umad.client import AsyncClient

pytestmark = pytest.mark.timeout(900)
N_STREAMS = 16
# All of them run still when the cable is pulled.
N_TOKENS = {"nano": 300, "gemma-3-270m-chat": 60}
# With 4-bit weights, whose sums depend on how many rows are computed at once, two likely tokens
# change places more easily. One that was lost or came twice makes the next ones unlikely by more.
TIES = {"nano": TIE, "gemma-3-270m-chat": 0.5}


@pytest.fixture(params=N_TOKENS)
def team(request: pytest.FixtureRequest, folder: Path) -> Iterator[NetworkTeam]:
    model = str(request.param)
    try:
        named = model if model == "nano" else str(gemma())
    except BenchError as error:
        pytest.skip(str(error))
    # Q8_0 cells: a CPU then computes the same bits for every batch, so tokens can be judged.
    arguments = (named, "--threads", "1", "--ctx-size", "16384", "--kv-type", "q8")
    home = folder / model
    home.mkdir()
    with (
        lan([FRONT, DESK, *NODES]) as network,
        network_team(home, network, model=model, arguments=arguments) as made,
    ):
        yield made


def test_sixteen_streams_go_on_when_a_cable_is_pulled(team: NetworkTeam) -> None:
    n_tokens = N_TOKENS[team.model]

    async def answers() -> tuple[list[Watched], str]:
        streams = [
            Watched(question(number, model=team.model, n_tokens=n_tokens))
            for number in range(N_STREAMS)
        ]
        tasks = [asyncio.create_task(one.read(team.client)) for one in streams]
        await asyncio.gather(*(one.under_way.wait() for one in streams))
        live = await team.live()
        busiest = max(live, key=lambda name: live[name])
        assert live[busiest] > 1, "nobody would notice"
        team.lan.unplug(busiest)
        return list(await asyncio.gather(*tasks)), busiest

    async def looked_at(done: list[Watched], node: str) -> list[list[tuple[int, float]]]:
        async with AsyncClient(team.nodes[node].daemon.socket) as client:
            for one in done:
                for index, ids in enumerate(one.ids):
                    text = await client.detokenize(tuple(ids), model=team.model)
                    assert one.texts[index] == text
            return [
                await unlikely(client, one, index, tie=TIES[team.model])
                for one in done
                for index in range(one.request.n)
            ]

    done, unplugged = team.desk.run(lambda: asyncio.run(answers()))
    state = team.router.fleet()[unplugged]["state"]
    team.lan.plug(unplugged)
    until(lambda: team.router.fleet()[unplugged]["state"] == "up", "it is back")
    until(lambda: not asyncio.run(team.live())[unplugged], "nobody's answer goes on there")
    other = next(name for name in NODES if name != unplugged)

    assert state == "down"
    for one in done:
        assert sorted(end.index for end in one.done) == list(range(one.request.n))
        assert all(end.finish_reason == "length" for end in one.done)
        assert all(end.usage.completion_tokens == n_tokens for end in one.done)
        assert all(len(ids) == n_tokens for ids in one.ids)
    # None lost, none twice: each is the likeliest behind those before it.
    assert [found for found in asyncio.run(looked_at(done, other)) if found] == []
