"""Runs the router: watches nodes, decides by the policy, and makes HAProxy so.

    members file ─────────────┐          ┌─▶ weights, servers, models ─▶ HAProxy's admin socket
    nodes' scorecards (mTLS) ─┼─▶ Fleet ─┤
    what HAProxy saw ─────────┘          └─▶ what people see of it

HAProxy is a process of its own and carries every byte. This one may die at any moment, and nobody
notices: streams and the table of sessions are in HAProxy. When it is started again it finds HAProxy
at its admin socket, and asks all nodes once before it changes anything.
It remembers nothing that matters. Each second it reads what HAProxy has, and mends the difference
to what should be (`umad.router.pools`).
Not: the policy (`umad.router.policy`), nor who is a member (`umad.router.members`).
Owner: one event loop.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from umad.clock import Clock
from umad.errors import UmadError
from umad.router.haproxy import Proxy, commands
from umad.router.haproxy.answers import (
    PoolServer,
    ServerWork,
    models_of,
    places_of,
    servers_of,
    work_of,
)
from umad.router.members import Member
from umad.router.moves import crowded_nodes, leaving_sessions
from umad.router.policy import AnswerTimes, Fleet, PolicySettings
from umad.router.pools import (
    ALL,
    WantedServer,
    leaving,
    model_commands,
    pools_of_models,
    server_commands,
    settled_weights,
)
from umad.router.seams import AdminLine, Heard, NodeWatch, Surroundings
from umad.router.telling import told_of_fleet, told_of_nodes
from umad.units import NS_PER_S

log = logging.getLogger(__name__)

# How often what HAProxy has is compared with what it should have.
BEAT_S: Final = 1.0
ASK_EVERY_S: Final = 5
# HAProxy that does not start is tried again after so long, and after twice as long each time.
_FIRST_PAUSE_NS, _MOST_PAUSE_NS = NS_PER_S, 60 * NS_PER_S
_MOST_REFUSALS_TOLD = 5


class RouterService:
    """One router."""

    def __init__(
        self,
        proxy: Proxy,
        *,
        admin: AdminLine,
        watch: NodeWatch,
        surroundings: Surroundings,
        clock: Clock,
        settings: PolicySettings,
        rng: random.Random,
        ask_every_ns: int = ASK_EVERY_S * NS_PER_S,
    ) -> None:
        """ask_every_ns: how often a node is asked. Its scorecard counts in full for ten seconds."""
        self._proxy = proxy
        self._admin = admin
        self._watch = watch
        self._around = surroundings
        self._clock = clock
        self._ask_every_ns = ask_every_ns
        self._settings = settings
        self._fleet = Fleet(settings=settings, rng=rng)
        self._members: dict[str, Member] = {}
        self._stamp: object = None
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._asked_ns: dict[str, int] = {}
        self._heard: dict[str, Heard] = {}
        # Those that have told how they are since this process began.
        self._told: set[str] = set()
        # Somebody has told something since that was published.
        self._has_news = True
        self._is_new = True
        # What HAProxy saw of each node when it was asked last: requests, and those that failed.
        self._seen: dict[str, tuple[int, int]] = {}
        self._times: dict[str, AnswerTimes] = {}
        self._leaving_since_ns: dict[tuple[str, str], int] = {}
        self._begun_ns: int | None = None
        self._pause_ns = _FIRST_PAUSE_NS
        # What is wrong now, for the log (once) and for `umad router ls`.
        self._problems: tuple[str, ...] = ()
        # Models and their pools, as they were last.
        self._models: dict[str, str] = {}

    @property
    def fleet(self) -> Fleet:
        """The nodes as the policy sees them."""
        return self._fleet

    async def run(self, ending: asyncio.Event) -> None:
        """Beat until `ending` is set. HAProxy goes on."""
        try:
            while not ending.is_set():
                await self.beat()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ending.wait(), BEAT_S)
        finally:
            for task in self._asking.values():
                task.cancel()
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def beat(self) -> None:
        """Look at everything once, and mend what differs. Never raises for what others do."""
        problems: list[str] = []
        now_ns = self._clock.now_ns()
        try:
            self._follow_members(now_ns)
        except UmadError as error:
            problems.append(error.message)  # those that were read last stay
        self._ask_nodes(now_ns)
        try:
            problems += await self._mend(now_ns)
            self._pause_ns = _FIRST_PAUSE_NS
        except UmadError as error:
            problems.append(error.message)
            if not await self._admin.is_there():
                problems += await self._begin(now_ns)
        self._tell(problems)

    async def asked_once(self) -> None:
        """Wait until every member has been asked; each call of a node is bounded."""
        while self._asking:
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    # -- members and their scorecards ---------------------------------------------------------

    def _follow_members(self, now_ns: int) -> None:
        stamp = self._around.stamp()
        if stamp == self._stamp:
            return
        wanted = {one.name: one for one in self._around.members()}
        self._stamp = stamp
        for name, old in list(self._members.items()):
            new = wanted.get(name)
            if new is None or (new.number, new.size) != (old.number, old.size):
                self._fleet.leave(name)
                del self._members[name]
                self._heard.pop(name, None)
                self._seen.pop(name, None)
                self._times.pop(name, None)
                self._asked_ns.pop(name, None)
                self._told.discard(name)
                log.info("node left name=%s number=%d", name, old.number)
        for name, new in wanted.items():
            old_one = self._members.get(name)
            if old_one is None:
                self._fleet.join(name, now_ns=now_ns, size=new.size, number=new.number)
                log.info("node joined name=%s number=%d", name, new.number)
            elif (old_one.host, old_one.port) != (new.host, new.port):
                self._asked_ns.pop(name, None)
            if self._fleet.node(name).draining != new.is_draining:
                self._fleet.drain(name, now_ns, wanted=new.is_draining)
            self._members[name] = new

    def _ask_nodes(self, now_ns: int) -> None:
        """Begin to ask those whose time has come."""
        for name, member in self._members.items():
            asked_ns = self._asked_ns.get(name)
            if name in self._asking or (
                asked_ns is not None and now_ns - asked_ns < self._ask_every_ns
            ):
                continue
            self._asked_ns[name] = now_ns
            self._asking[name] = asyncio.create_task(self._ask(member))

    async def _ask(self, member: Member) -> None:
        name = member.name
        try:
            heard = await self._watch.ask(member)
        except Exception:
            # What a node says must not end the watch of all others.
            asked_ns = self._asked_ns.get(name, 0)
            problem = "what it said was not understood; the log says more"
            if name not in self._heard or self._heard[name].problem != problem:
                log.exception("asking a node failed unexpectedly name=%s", name)
            heard = Heard(node=name, asked_ns=asked_ns, reading=None, problem=problem)
        finally:
            del self._asking[name]
        now = self._members.get(name)
        if now is None or now.number != member.number:
            return  # it left meanwhile, or another one has its name
        before = self._heard.get(name)
        if heard.problem and (before is None or before.problem != heard.problem):
            log.warning("node says nothing usable name=%s problem=%s", name, heard.problem)
        if heard.host == "" and before is not None:
            heard = replace(heard, host=before.host)
        self._heard[name] = heard
        self._has_news = True
        if heard.reading is not None:
            self._told.add(name)
            self._fleet.reported(name, heard.reading, heard.asked_ns)

    # -- HAProxy ------------------------------------------------------------------------------

    async def _mend(self, now_ns: int) -> list[str]:
        """Compare HAProxy with what it should be; what it refused."""
        work = work_of(await self._admin.ask(commands.SHOW_WORK))
        self._learn(work, now_ns)
        self._fleet.tick(now_ns)
        self._is_new = self._is_new and any(name not in self._heard for name in self._members)
        if self._is_new or self._stamp is None:
            return []  # nothing is changed before it is known who belongs to it, and how each is
        seen = servers_of(await self._admin.ask(commands.SHOW_SERVERS))
        held = models_of(await self._admin.ask(commands.show_models(self._proxy)))
        models = self._pools(held, now_ns)
        wanted = self._wanted(models, seen, now_ns)
        lines = server_commands(
            wanted,
            seen,
            proxy=self._proxy,
            busy={(one.pool, one.name) for one in work if one.open_requests},
            overdue=self._overdue(leaving(wanted, seen), now_ns),
        )
        lines += model_commands(models, held, proxy=self._proxy)
        lines += await self._moves(now_ns)
        self._models = models
        if not lines:
            return []
        refused = await self._admin.try_all(lines)
        # A server that still has an idle connection is not taken out yet. A second later it is.
        told = [one for one in refused if not one.startswith("del server")]
        return told[:_MOST_REFUSALS_TOLD]

    def _learn(self, work: Sequence[ServerWork], now_ns: int) -> None:
        """What HAProxy saw of each node, over all pools."""
        by_name: dict[str, list[ServerWork]] = {}
        for one in work:
            if one.name in self._members and one.pool != commands.TABLE:
                by_name.setdefault(one.name, []).append(one)
        self._fleet.counted(
            {name: sum(one.open_requests for one in rows) for name, rows in by_name.items()}
        )
        for name, rows in by_name.items():
            failed = sum(one.failed_connections + one.failed_answers for one in rows)
            sent = sum(one.sent for one in rows) + failed
            old_sent, old_failed = self._seen.get(name, (sent, failed))
            self._seen[name] = (sent, failed)
            # Less than before: HAProxy was started again, or the node left a pool.
            if sent > old_sent and failed >= old_failed:
                late = min(failed - old_failed, sent - old_sent)
                self._fleet.witnessed(name, late=late, of=sent - old_sent, now_ns=now_ns)
            times = self._times.setdefault(name, AnswerTimes())
            took_ms = times.seen({one.pool: (one.answers, one.answer_ms) for one in rows})
            if took_ms is not None:
                self._fleet.timed(name, took_ms, now_ns)
            if any(one.pool == ALL and one.is_down for one in rows):
                self._fleet.failed(name, now_ns)

    def _pools(self, held: Mapping[str, str], now_ns: int) -> dict[str, str]:
        names = [pool.name for pool in self._proxy.pools if pool.name != ALL]
        known = {
            model
            for node in self._fleet.nodes()
            for model in (*node.reading.loaded, *node.reading.loadable)
        }
        if any(self._is_unknown(name, now_ns) for name in self._members):
            # It may be the one that has them.
            known |= held.keys()
        return pools_of_models(known, held, names)

    def _is_unknown(self, name: str, now_ns: int) -> bool:
        """Whether a node has told nothing since it joined or this process began, a while ago."""
        waited_ns = now_ns - self._fleet.node(name).reported_ns
        return name not in self._told and waited_ns <= self._settings.silent_ns

    def _wanted(
        self, models: Mapping[str, str], seen: Sequence[PoolServer], now_ns: int
    ) -> dict[str, list[WantedServer]]:
        there = {(one.pool, one.number) for one in seen}
        wanted: dict[str, list[WantedServer]] = {pool.name: [] for pool in self._proxy.pools}
        asked: list[tuple[str, str | None]] = [(ALL, None)]
        asked += [(pool, model) for model, pool in models.items()]
        for pool, model in asked:
            weights = settled_weights(self._fleet.weights(model))
            for name, member in self._members.items():
                heard = self._heard.get(name)
                is_there = (pool, member.number) in there
                belongs = pool == ALL or name in weights
                if not belongs and not (is_there and self._is_unknown(name, now_ns)):
                    continue
                host = "" if heard is None else heard.host
                if not host:
                    # Its name cannot be looked up for now; where it was is where it stays.
                    wanted[pool] += _as_it_is(seen, pool, member)
                    continue
                wanted[pool].append(
                    WantedServer(
                        name=name,
                        number=member.number,
                        host=host,
                        port=member.port,
                        weight=weights.get(name),
                        is_draining=member.is_draining,
                    )
                )
        return wanted

    def _overdue(self, spots: set[tuple[str, str]], now_ns: int) -> set[tuple[str, str]]:
        """Servers that have been leaving for longer than streams may take."""
        since = self._leaving_since_ns
        self._leaving_since_ns = {spot: since.get(spot, now_ns) for spot in spots}
        most_ns = self._proxy.drain_timeout_s * NS_PER_S
        return {
            spot for spot, began_ns in self._leaving_since_ns.items() if now_ns - began_ns > most_ns
        }

    async def _moves(self, now_ns: int) -> list[str]:
        told: list[str] = []
        for node in crowded_nodes(self._fleet, self._settings, now_ns):
            places = places_of(await self._admin.ask(commands.show_places(node.number)))
            keys = leaving_sessions(node, places)
            node.moves_left = 0
            told += [commands.unpin(key) for key in keys]
            log.info("sessions leave a full node name=%s sessions=%d", node.name, len(keys))
        return told

    async def _begin(self, now_ns: int) -> list[str]:
        """Start HAProxy, unless that was tried a moment ago."""
        if self._begun_ns is not None and now_ns - self._begun_ns < self._pause_ns:
            return []
        if self._begun_ns is not None:
            self._pause_ns = min(2 * self._pause_ns, _MOST_PAUSE_NS)
        self._begun_ns = now_ns
        self._seen.clear()
        self._times.clear()
        try:
            await self._around.begin(tuple(self._members.values()))
        except UmadError as error:
            return [error.message]
        log.info("haproxy started")
        return []

    def _tell(self, problems: Sequence[str]) -> None:
        told = tuple(dict.fromkeys(problems))
        for problem in told:
            if problem not in self._problems:
                log.warning("router problem=%s", problem)
        self._problems = told
        self._around.publish(
            told_of_fleet(
                self._fleet,
                self._members,
                self._heard,
                models=self._models,
                problems=told,
                now_ns=self._clock.now_ns(),
            ),
            told_of_nodes(self._heard) if self._has_news else None,
        )
        self._has_news = False


def _as_it_is(seen: Sequence[PoolServer], pool: str, member: Member) -> list[WantedServer]:
    """The member's server, if it has one, but for its wish to drain."""
    return [
        WantedServer(
            name=one.name,
            number=one.number,
            host=one.host,
            port=one.port,
            weight=None,
            is_draining=member.is_draining,
        )
        for one in seen
        if (one.pool, one.number) == (pool, member.number)
    ]
