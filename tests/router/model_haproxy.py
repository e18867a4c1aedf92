"""A small model of HAProxy: its servers, its map and its table, and what its admin socket says."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from umad.errors import ProxyFailed
from umad.router.haproxy.answers import PoolServer
from umad.router.pools import Spot

_STATE = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state "
    "srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port"
)


@dataclass
class Haproxy:
    """The part of HAProxy that commands change. It refuses what HAProxy refuses."""

    servers: dict[Spot, PoolServer] = field(default_factory=dict)
    unpinned: list[int] = field(default_factory=list)
    removed: list[Spot] = field(default_factory=list)

    def seen(self) -> list[PoolServer]:
        return list(self.servers.values())

    def do(self, line: str) -> None:
        words = line.split()
        if words[:2] == ["clear", "table"]:
            self.unpinned.append(int(words[-1]))
            return
        pool, name = words[2].split("/")
        match words[:2]:
            case ["add", "server"]:
                self._add((pool, name), words[3:])
            case ["del", "server"]:
                if self.servers[pool, name].is_stopped:
                    del self.servers[pool, name]
                    self.removed.append((pool, name))
            case ["set", "server"]:
                self._set((pool, name), words[3:])
            case other:
                assert other == ["enable", "health"], line

    def _add(self, spot: Spot, words: list[str]) -> None:
        host, _, port = words[0].rpartition(":")
        said = dict(itertools.pairwise(words))
        number = int(said["id"])
        taken = {one.number for one in self.seen() if one.pool == spot[0]}
        if spot in self.servers or number in taken:
            return
        self.servers[spot] = PoolServer(
            pool=spot[0],
            name=spot[1],
            number=number,
            host=host.strip("[]"),
            port=int(port),
            weight=int(said["weight"]),
            is_draining=False,
            is_stopped=True,
        )

    def _set(self, spot: Spot, words: list[str]) -> None:
        one = self.servers.get(spot)
        if one is None:
            return
        match words:
            case ["weight", weight]:
                self.servers[spot] = replace(one, weight=int(weight))
            case ["addr", host, "port", port]:
                self.servers[spot] = replace(one, host=host, port=int(port))
            case ["state", "ready"]:
                self.servers[spot] = replace(one, is_draining=False, is_stopped=False)
            case ["state", "drain"]:
                self.servers[spot] = replace(one, is_draining=True, is_stopped=False)
            case ["state", "maint"]:
                self.servers[spot] = replace(one, is_stopped=True)
            case other:
                raise AssertionError(other)


@dataclass
class ModelAdmin:
    """The admin socket of a model."""

    haproxy: Haproxy = field(default_factory=Haproxy)
    models: dict[str, str] = field(default_factory=dict)
    # Sessions with their node's number, the one that had a turn last first.
    places: dict[str, int] = field(default_factory=dict)
    open_requests: dict[Spot, int] = field(default_factory=dict)
    down: set[Spot] = field(default_factory=set)
    # Answers, and how long they took to begin on average.
    answers: dict[Spot, tuple[int, int]] = field(default_factory=dict)
    # "there", "slow" (it answers nothing in time) or "gone".
    state: str = "there"
    told: list[str] = field(default_factory=list)

    async def ask(self, line: str) -> str:
        self._check()
        if line.startswith("show stat"):
            return self._work()
        if line.startswith("show servers"):
            return f"1\n{_STATE}\n" + "".join(map(_state_line, self.haproxy.seen()))
        if line.startswith("show map"):
            return "".join(f"0x1 {model} {pool}\n" for model, pool in self.models.items())
        number = int(line.split()[-1])
        rows = [key for key, where in self.places.items() if where == number]
        return "# table: sessions, type: string\n" + "".join(
            f"0x1: key={key} use=0 exp={1000 - at} server_id={number}\n"
            for at, key in enumerate(rows)
        )

    async def is_there(self) -> bool:
        return self.state != "gone"

    async def try_all(self, lines: Iterable[str]) -> list[str]:
        self._check()
        for line in lines:
            self.told.append(line)
            self._do(line)
        return []

    def _do(self, line: str) -> None:
        words = line.split()
        if words[1] == "map":
            self.models.pop(words[3], None)
            if words[0] != "del":
                self.models[words[3]] = words[4]
        elif words[:4] == ["clear", "table", "sessions", "key"]:
            del self.places[words[4]]
        else:
            self.haproxy.do(line)

    def _check(self) -> None:
        if self.state != "there":
            raise ProxyFailed(f"HAProxy is {self.state}")

    def _work(self) -> str:
        rows = "".join(
            f"{spot[0]},{spot[1]},0,{self.open_requests.get(spot, 0)},9,0,0,"
            f"{'DOWN' if spot in self.down else 'UP'},2,"
            f"{','.join(map(str, self.answers.get(spot, (0, 0))))}\n"
            for spot in self.haproxy.servers
        )
        return f"# pxname,svname,qcur,scur,stot,econ,eresp,status,type,req_tot,rtime\n{rows}"


def _state_line(one: PoolServer) -> str:
    admin = int(one.is_stopped) | int(one.is_draining) << 3
    return (
        f"4 {one.pool} {one.number} {one.name} {one.host} 2 {admin} {one.weight} 1 0 1 0 2 6 0 0 1 "
        f"- {one.port}\n"
    )
