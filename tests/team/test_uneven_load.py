"""Clients of a team feel nothing of the one machine that is busy with its owner's own work.

Three daemons with a real model have two fifths of a core each. On one of them its owner compiles
(two busy loops in its share) and chats (by its own socket), which no proxy sees. Two clients ask
one thing after another, each in a session of its own, in turn: one free machine, the team as the
router weighs it, and the team round robin. All three ways go through a HAProxy on the same host.
What is judged is the 95th percentile of the waits between two pieces, in one run.
"""

import asyncio
import dataclasses
import functools
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.real_weights import gemma
from bench.running import in_turn
from tests.router.proxies import HAPROXY
from tests.router.team import until
from tests.team.lan import lan
from tests.team.network_team import DESK, FRONT, NODES, NetworkTeam, network_team
from tests.team.shares import share
from umad.client import AsyncClient, Client
from umad.request import GenerateRequest, SamplingParams
from umad.router.haproxy import render
from umad.router.members import Member
from umad.service import Tokens

pytestmark = pytest.mark.timeout(1200)
MODEL, CORES = "gemma-3-270m-chat", 0.4
BUSY, FREE = "one", "three"
N_CLIENTS, N_ANSWERS, N_TOKENS, ROUNDS = 2, 6, 24, 2
# Of one free machine.
MOST = 1.25
LIGHT, WEIGHED, ROBIN = "one free machine", "the team by weights", "the team round robin"


@pytest.fixture
def team(folder: Path) -> Iterator[NetworkTeam]:
    try:
        model = gemma()
    except BenchError as error:
        pytest.skip(str(error))
    arguments = (str(model), "--threads", "1", "--ctx-size", "8192")
    with ExitStack() as stack:
        try:
            prefixes = {name: stack.enter_context(share(name, CORES)) for name in NODES}
        except OSError as error:
            pytest.skip(f"no control group of the cores can be made: {error}")
        network = stack.enter_context(lan([FRONT, DESK, *NODES]))
        with (
            network_team(
                folder, network, model=MODEL, arguments=arguments, prefixes=prefixes
            ) as made,
            busy_owner(made, prefixes[BUSY]),
        ):
            yield made


@contextmanager
def busy_owner(team: NetworkTeam, prefix: Sequence[str]) -> Iterator[None]:
    """The owner of a machine computes there, and chats with its own umad. Before, the router has
    seen each machine when little ran there."""
    for node in team.nodes.values():
        with Client(node.daemon.socket) as client:
            answered = client.text("Hello", temperature=0, max_tokens=80, ignore_eos=True)
            assert "".join(answered)
    chat = [sys.executable, "-c", _CHATS, str(team.nodes[BUSY].daemon.socket)]
    loop = [*prefix, sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(words) for words in (chat, loop, loop)]
    try:
        yield
    finally:
        for one in processes:
            one.kill()
            one.wait()


_CHATS = """
import sys
from umad import Client
with Client(sys.argv[1]) as client:
    while True:
        for _ in client.text("The owner asks:", temperature=0, max_tokens=200, ignore_eos=True):
            pass
"""


@contextmanager
def proxy(team: NetworkTeam, members: Sequence[Member], port: int) -> Iterator[str]:
    """Another HAProxy on the router's host, which nobody tells anything; its address."""
    host, folder = team.lan.hosts[FRONT], team.router.folder
    made = folder.proxy(members)
    made = dataclasses.replace(
        made,
        front=dataclasses.replace(made.front, port=port),
        admin_path=str(folder.path / f"{port}.sock"),
        front_path=None,
    )
    config = folder.path / f"{port}.cfg"
    config.write_text(render(made).replace("balance random(2)", "balance roundrobin"))
    running = subprocess.Popen([*host.prefix, str(HAPROXY), "-db", "-f", str(config)])
    try:
        until(Path(made.admin_path).exists, "HAProxy listens")
        yield f"https://{host.address}:{port}"
    finally:
        running.kill()
        running.wait()


@dataclasses.dataclass
class Felt:
    """What clients waited for, seconds: between two pieces, and for the first one."""

    gaps: list[float] = dataclasses.field(default_factory=list)
    firsts: list[float] = dataclasses.field(default_factory=list)

    @property
    def p95_ms(self) -> float:
        """Of the gaps."""
        return float(np.percentile(self.gaps, 95)) * 1e3


async def client(team: NetworkTeam, address: str, sessions: Iterator[int], felt: Felt) -> None:
    async with AsyncClient.of_team(address, tls=team.tls) as made:
        for _ in range(N_ANSWERS):
            number = next(sessions)
            request = GenerateRequest(
                prompt=f"Question {number}: why is the sky blue?",
                sampling=SamplingParams(temperature=0.0, max_tokens=N_TOKENS, ignore_eos=True),
                model=MODEL,
                session=f"uneven {number}",
            )
            times = [time.perf_counter()]
            async for event in made.generate(request):
                if isinstance(event, Tokens):
                    times += [time.perf_counter()]
            felt.firsts.append(times[1] - times[0])
            felt.gaps += [after - before for before, after in itertools.pairwise(times[1:])]


def is_found_out(team: NetworkTeam) -> bool:
    weights = {name: one.weight for name, one in team.router.servers("m1").items()}
    return 20 * weights[BUSY] < sum(weights.values())


def _run(made: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(made())


def test_clients_feel_no_busy_machine_of_the_team(team: NetworkTeam) -> None:
    members = team.router.folder.members.members()
    free = [one for one in members if one.name == FREE]
    felt = {way: Felt() for way in (LIGHT, WEIGHED, ROBIN)}
    numbers = itertools.count()
    until(lambda: is_found_out(team), "the busy machine has next to no weight, and others have")

    async def ask(way: str, address: str) -> None:
        await asyncio.gather(*(client(team, address, numbers, felt[way]) for _ in range(N_CLIENTS)))

    with proxy(team, free, 8444) as light, proxy(team, members, 8445) as robin:
        addresses = {LIGHT: light, WEIGHED: team.address, ROBIN: robin}
        for turn in range(ROUNDS):
            for way in in_turn(list(felt), turn):
                asked = functools.partial(ask, way, addresses[way])
                team.desk.run(functools.partial(_run, asked))

    calm_ms = felt[LIGHT].p95_ms
    for way, one in felt.items():
        first_ms = float(np.median(one.firsts)) * 1e3
        print(
            f"{way}: p95 between pieces {one.p95_ms:.0f} ms ({one.p95_ms / calm_ms:.2f}x), "
            f"first piece {first_ms:.0f} ms at the median, {len(one.gaps)} gaps"
        )
    print(json.dumps({"weights": {k: v.weight for k, v in team.router.servers("m1").items()}}))
    assert felt[WEIGHED].p95_ms <= MOST * calm_ms
    assert felt[ROBIN].p95_ms > MOST * calm_ms
