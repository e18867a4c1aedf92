"""Sessions and streams of a team on a network stay where they are, whatever its router does."""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests.router.going_on import Told
from tests.router.team import until
from tests.team.lan import lan
from tests.team.network_team import DESK, FRONT, NODES, NetworkTeam, network_team

pytestmark = pytest.mark.timeout(600)
T = TypeVar("T")
N_SESSIONS, N_STREAMS, N_TOKENS = 200, 16, 300
# Answers that the desk waits for at once.
AT_ONCE = 16


@pytest.fixture(scope="module")
def team(folder: Path) -> Iterator[NetworkTeam]:
    # One core for each; cells for all sessions, wherever they are.
    arguments = ("nano", "--threads", "1", "--ctx-size", "32768")
    with (
        lan([FRONT, DESK, *NODES]) as network,
        network_team(folder, network, model="nano", arguments=arguments) as made,
    ):
        yield made


@pytest.fixture(autouse=True)
def all_nodes_take_sessions(team: NetworkTeam) -> None:
    for name in NODES:
        team.router.folder.members.drain(name, wanted=False)
    until(
        lambda: all(one.weight and not one.is_draining for one in team.router.servers().values()),
        "every node takes new sessions",
    )


def at_desk(team: NetworkTeam, work: Coroutine[Any, Any, T]) -> T:
    return team.desk.run(lambda: asyncio.run(work))


def drain(team: NetworkTeam, name: str) -> None:
    team.router.folder.members.drain(name, wanted=True)
    until(lambda: team.router.servers()[name].is_draining, "it drains")


async def turn(http: httpx.AsyncClient, turns: list[dict[str, str]], session: str) -> int:
    """One more answer of a conversation; how many tokens of its prompt were there already."""
    body = {
        "model": "nano",
        "messages": turns,
        "session": session,
        "temperature": 0,
        "max_tokens": 8,
    }
    answer = await http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    turns.append({"role": "assistant", "content": said["choices"][0]["message"]["content"]})
    return int(said["usage"]["prompt_tokens_details"]["cached_tokens"])


def test_two_hundred_sessions_stay_where_their_cells_are(team: NetworkTeam) -> None:
    talks = {
        f"sticks {number}": [{"role": "user", "content": f"{number} is a number. Is it odd?"}]
        for number in range(N_SESSIONS)
    }

    async def all_turns() -> dict[str, int]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(http: httpx.AsyncClient, session: str) -> tuple[str, int]:
            async with gate:
                return session, await turn(http, talks[session], session)

        async with team.http() as http:
            return dict(await asyncio.gather(*(one(http, session) for session in talks)))

    before = team.places()
    first = at_desk(team, all_turns())
    homes = {key: node for key, node in team.places().items() if key not in before}
    # Weights are others now, and one node takes nobody new.
    drain(team, "two")
    for turns in talks.values():
        turns.append({"role": "user", "content": "And twice that?"})
    second = at_desk(team, all_turns())
    after = {key: node for key, node in team.places().items() if key not in before}

    assert len(homes) == N_SESSIONS
    assert set(homes.values()) == set(NODES)
    assert after == homes
    # What a chat's template says to everybody may be there at once. What was said in a session is
    # only where that session was.
    stayed = [session for session in talks if second[session] > first[session] + 8]
    assert len(stayed) == N_SESSIONS


def test_a_node_that_drains_cuts_nobody_and_gets_nobody_new(team: NetworkTeam) -> None:
    async def run() -> tuple[list[Told], str, dict[str, int], dict[str, str]]:
        streams = [Told() for _ in range(N_STREAMS)]
        async with team.http() as http:
            tasks = [
                asyncio.create_task(one.read(http, number, model="nano", n_tokens=N_TOKENS))
                for number, one in enumerate(streams)
            ]
            await asyncio.gather(*(one.under_way.wait() for one in streams))
            live = await team.live()
            busiest = max(live, key=lambda name: live[name])
            await asyncio.to_thread(drain, team, busiest)
            still = await team.live()
            before = await asyncio.to_thread(team.places)
            for number in range(12):
                await turn(http, [{"role": "user", "content": f"New {number}."}], f"new {number}")
            places = await asyncio.to_thread(team.places)
            new = {key: node for key, node in places.items() if key not in before}
            await asyncio.gather(*tasks)
        return streams, busiest, still, new

    streams, drained, still, new = at_desk(team, run())

    assert still[drained] > 0, "nobody was there to be cut"
    assert all(one.is_whole and one.reason == "length" for one in streams)
    assert len(new) == 12
    assert drained not in new.values()


def test_no_stream_notices_that_the_router_is_killed(team: NetworkTeam) -> None:
    haproxy = team.router.haproxy_pid()

    async def run() -> tuple[list[Told], int]:
        streams = [Told() for _ in range(N_STREAMS)]
        talk = [{"role": "user", "content": "Who answers while nobody routes?"}]
        async with team.http() as http:
            await turn(http, talk, "killed")
            tasks = [
                asyncio.create_task(one.read(http, number, model="nano", n_tokens=N_TOKENS))
                for number, one in enumerate(streams)
            ]
            await asyncio.gather(*(one.under_way.wait() for one in streams))
            await asyncio.to_thread(team.router.kill)
            assert sum((await team.live()).values()) > 0, "nobody was there to notice"
            talk.append({"role": "user", "content": "And now?"})
            kept = await turn(http, talk, "killed")
            await asyncio.gather(*tasks)
        return streams, kept

    streams, kept = at_desk(team, run())
    places = team.places()
    team.router.start()
    until(lambda: team.router.fleet()["one"]["scorecard_age_s"] is not None, "it asks again")

    assert all(one.is_whole and one.reason == "length" for one in streams)
    assert kept > 8, "the session went elsewhere"
    assert team.router.haproxy_pid() == haproxy
    assert {key: team.places()[key] for key in places} == places
