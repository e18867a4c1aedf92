"""Gives models room in turn: starts those that are asked for, and has others leave for them.

    asked for ─▶ waits ─▶ has room ─▶ starts ─▶ ready ─▶ yields ─▶ suspended ─▶ asked for again …

`look` acts on what `umad.daemon.room` decides. It runs after every change of a model's state, when
a model's last work has ended, and when the time of something has come. A model that was asked for
waits for at most `load_s`; its requests wait in its journal, and are told once a second how it
stands. A model that nobody has used for its `keep_alive` leaves without anybody needing its room.
Not: the table of models (`umad.daemon.supervisor`), the life of one (`umad.daemon.keeper`), nor how
much memory one needs (`umad.daemon.needs`).
Owner: the daemon's event loop.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from umad.clock import Clock
from umad.daemon.engine import Engine
from umad.daemon.engine_state import GONE, EngineState
from umad.daemon.keep_alive import GRACE_NS
from umad.daemon.keeper import Keeper
from umad.daemon.load_pauses import LOOK_S, Interactive, LoadPauses
from umad.daemon.needs import Needs
from umad.daemon.residents import residents, work_of
from umad.daemon.room import (
    YIELD_NS,
    Decision,
    Limits,
    Need,
    Resident,
    Stand,
    Wish,
    Work,
    decide,
    in_line,
    standing,
)
from umad.errors import Cancelled, EngineFailed, LimitExceeded, UmadError
from umad.request import INTERACTIVE
from umad.units import NS_PER_S

log = logging.getLogger(__name__)

# While a request waits for its model, it is told so often how that stands.
TOLD_S = 1.0
# A timer for years is none.
MOST_REST_S = 3600.0
# Where nothing is known, only the number of models counts.
_NO_NEED = Need(good_bytes=0, least_bytes=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationRules:
    """What the configuration says about several models."""

    # None for as many as memory holds.
    max_models: int | None = None
    # The lanes of interactive work.
    interactive: frozenset[str] = frozenset({INTERACTIVE})
    # How long a model may wait for room.
    load_s: float = 600.0


@dataclass(slots=True)
class _Turn:
    """What is known of a model's wish."""

    # Since when it waits, and since when it yields; None where it does not.
    since_ns: int | None = None
    yields_ns: int | None = None
    # Somebody waits for the load itself; None where nobody does.
    load: Work | None = None
    need: Need | None = None
    # It has to be known before anybody leaves, and is not known yet.
    is_unknown: bool = False
    # The need is being learnt.
    learning: "asyncio.Task[None] | None" = None
    # For whom it leaves, in words.
    leaves_for: str = ""


@dataclass(slots=True)
class _Look:
    """One look at all models."""

    now_ns: int
    # When to look again.
    due_ns: list[int] = field(default_factory=list)


class Rotation:
    """The turns of one daemon's models.

    keepers: by name; the supervisor's own table. needs: None where memory is not looked at. board:
    None where loads rest for nobody. tell: tells an engine's waiting requests how it stands.
    """

    def __init__(
        self,
        keepers: Mapping[str, Keeper],
        *,
        rules: RotationRules,
        clock: Clock,
        needs: Needs | None = None,
        board: Interactive | None = None,
        tell: Callable[[Engine], None],
    ) -> None:
        self._keepers = keepers
        self._rules = rules
        self._clock = clock
        self._needs = needs
        self._tell = tell
        self._pauses = LoadPauses(board, clock=clock, load_s=rules.load_s)
        self._turns: dict[str, _Turn] = {}
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._told_ns = 0
        self._has_stopped = False

    # -- what others want -------------------------------------------------------------------------

    def ask(self, keeper: Keeper, *, load: Work | None = None) -> None:
        """Somebody asks for a model. load: it is the load itself that is asked for."""
        engine = keeper.engine
        engine.used_ns = self._clock.now_ns()
        turn = self._turn(engine.name)
        if load is not None and engine.state is not EngineState.READY:
            turn.load = max(load, turn.load or Work.NONE)
        keeper.load()
        if engine.state is not EngineState.READY:
            self.changed()

    def taken_bytes(self, *, besides: str) -> int:
        """The memory that the models hold but one, as far as it is known."""
        return sum(one.n_bytes for one in self._residents(besides=besides))

    def changed(self) -> None:
        """Something has changed; look once the loop is done with it."""
        if self._soon is None and not self._has_stopped:
            self._soon = asyncio.get_running_loop().call_soon(self._look_soon)

    def stop(self) -> None:
        """Start nothing any more."""
        self._has_stopped = True
        self._pauses.stop()
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        for turn in self._turns.values():
            if turn.learning is not None:
                turn.learning.cancel()

    # -- looking ----------------------------------------------------------------------------------

    def _look_soon(self) -> None:
        self._soon = None
        try:
            self.look()
        except Exception:
            # A callback's boundary: a flaw costs one look, and the next change brings another.
            log.exception("models cannot be looked at")

    def look(self) -> None:
        """Act on how all models stand now."""
        if self._has_stopped:
            return
        look = _Look(self._clock.now_ns())
        for name in self._turns.keys() - self._keepers.keys():
            del self._turns[name]
        keepers = list(self._keepers.values())
        for keeper in keepers:
            self._note(keeper, look.now_ns)
            self._let_rest(keeper, look)
            self._let_yield(keeper, look)
        self._grant(keepers, look)
        loads = [one for one in keepers if one.engine.state is EngineState.STARTING]
        self._pauses.follow(loads, self._may_pause)
        self._tell_waiting(keepers, look)
        self._arm(look)

    def _note(self, keeper: Keeper, now_ns: int) -> None:
        engine, turn = keeper.engine, self._turn(keeper.engine.name)
        if engine.state is EngineState.SUSPENDED and turn.load is not None:
            keeper.load()  # somebody asked for it while it gave way
        if engine.state is EngineState.WAITING:
            turn.since_ns = now_ns if turn.since_ns is None else turn.since_ns
        else:
            turn.since_ns, engine.waits_for = None, ""
            if engine.state is EngineState.READY or engine.state in GONE:
                turn.load = None
        if engine.state is not EngineState.YIELDING:
            turn.yields_ns = None

    def _let_rest(self, keeper: Keeper, look: _Look) -> None:
        """Suspend a model that nobody has used for long enough."""
        engine = keeper.engine
        due_ns = engine.keep_alive.ends_ns(engine.used_ns)
        if engine.state is not EngineState.READY or not engine.is_idle or due_ns is None:
            return
        if look.now_ns < due_ns:
            look.due_ns.append(due_ns)
        elif keeper.suspend(f"nobody used it for {engine.keep_alive.words}"):
            log.info("model rests model=%s keep_alive=%s", engine.name, engine.keep_alive.words)

    def _let_yield(self, keeper: Keeper, look: _Look) -> None:
        """Suspend a model that yields, once nothing runs on it or it has taken too long."""
        engine, turn = keeper.engine, self._turn(keeper.engine.name)
        if engine.state is not EngineState.YIELDING:
            return
        if turn.yields_ns is None:
            turn.yields_ns = look.now_ns
        due_ns = turn.yields_ns + YIELD_NS
        is_late = look.now_ns >= due_ns
        if not engine.has_run_out and not is_late:
            look.due_ns.append(due_ns)
            return
        keeper.suspend(f"{turn.leaves_for} needed its room", cut=is_late)

    def _grant(self, keepers: Iterable[Keeper], look: _Look) -> None:
        """Give room to those that wait, the first in line first."""
        wishes = self._wishes(keepers, look)
        for at, wish in enumerate(wishes):
            others = self._residents(besides=wish.name)
            decision = self._decided(wish, others, look)
            if (decision.starts or decision.leave) and self._holds(wish, look):
                decision = Decision(why="interactive work goes first")
            self._keepers[wish.name].engine.waits_for = decision.why
            if decision.again_ns is not None:
                look.due_ns.append(decision.again_ns)
            if decision.starts:
                self._start(wish, others)
            elif decision.never:
                error = LimitExceeded(f"{wish.name} cannot be loaded: {decision.why}")
                self._turn_away(self._keepers[wish.name], error)
            else:
                for name in decision.leave:
                    self._send_off(self._keepers[name], wish)
                for behind in wishes[at + 1 :]:
                    engine = self._keepers[behind.name].engine
                    engine.waits_for = f"{wish.name} is loaded first"
                return

    def _decided(self, wish: Wish, others: list[Resident], look: _Look) -> Decision:
        needs, turn = self._needs, self._turns[wish.name]
        limits = Limits(
            max_models=self._rules.max_models,
            memory_bytes=None if needs is None else needs.memory_bytes,
            # A load whose memory is not known is waited for.
            loads_in_turn=needs is not None
            and any(
                one.stand is Stand.STARTING and self._keepers[one.name].reckoned_bytes is None
                for one in others
            ),
        )
        if turn.is_unknown:
            return Decision(why="its memory is reckoned")
        return decide(wish, others, limits, look.now_ns)

    def _holds(self, wish: Wish, look: _Look) -> bool:
        """Whether the wish waits for a rest of interactive work."""
        if standing(wish, look.now_ns) is Work.INTERACTIVE or not self._pauses.holds(wish.name):
            return False
        look.due_ns.append(look.now_ns + round(LOOK_S * NS_PER_S))
        return True

    def _may_pause(self, name: str) -> bool:
        """Whether only background work waits for a model, or nobody."""
        keeper = self._keepers.get(name)
        if keeper is None or keeper.engine.state is not EngineState.STARTING:
            return False
        load = self._turn(name).load or Work.NONE
        return max(work_of(keeper.engine, self._rules.interactive), load) is not Work.INTERACTIVE

    def _start(self, wish: Wish, others: Iterable[Resident]) -> None:
        keeper, turn = self._keepers[wish.name], self._turns[wish.name]
        turn.since_ns = None
        # A pool that fills what is free is known only once the engine has told.
        fills = self._needs is None or self._needs.fills_memory
        keeper.reckoned_bytes = None if fills or wish.need is _NO_NEED else wish.need.good_bytes
        turn.need = None
        self._pauses.begins(wish.name)
        keeper.start(beside_bytes=sum(one.n_bytes for one in others))

    def _send_off(self, keeper: Keeper, wish: Wish) -> None:
        self._turn(keeper.engine.name).leaves_for = wish.name
        log.info("model gives way model=%s for=%s", keeper.engine.name, wish.name)
        if not keeper.suspend(f"{wish.name} needed its room"):
            keeper.begin_to_yield()

    def _turn_away(self, keeper: Keeper, error: UmadError) -> None:
        log.info("model is turned away model=%s reason=%s", keeper.engine.name, error.message)
        turn = self._turn(keeper.engine.name)
        turn.since_ns, turn.load = None, None
        keeper.turn_away(error)

    # -- wishes and residents ---------------------------------------------------------------------

    def _wishes(self, keepers: Iterable[Keeper], look: _Look) -> list[Wish]:
        """Those that wait, in line. Who waits for nothing, or waited too long, is turned away."""
        found = []
        for keeper in keepers:
            engine = keeper.engine
            turn = self._turn(engine.name)
            if engine.state is not EngineState.WAITING or turn.since_ns is None:
                continue
            waits_ns = look.now_ns - turn.since_ns
            is_wanted = engine.is_wanted or turn.load is not None
            if not is_wanted and waits_ns >= GRACE_NS:
                self._turn_away(keeper, Cancelled(f"nobody waits for {engine.name} any more"))
                continue
            if waits_ns >= self._rules.load_s * NS_PER_S:
                error = EngineFailed(
                    f"{engine.name} had no room within {self._rules.load_s:g} s: "
                    f"{engine.waits_for or 'other models are at work'}; try again later"
                )
                self._turn_away(keeper, error)
                continue
            look.due_ns.append(turn.since_ns + round(self._rules.load_s * NS_PER_S))
            if not is_wanted:
                look.due_ns.append(turn.since_ns + GRACE_NS)
            found.append(self._wish(keeper, turn, turn.since_ns))
        return in_line(found, look.now_ns)

    def _wish(self, keeper: Keeper, turn: _Turn, since_ns: int) -> Wish:
        engine = keeper.engine
        need = turn.need
        if self._needs is not None and keeper.goes_on:
            # It gets the pool that it had.
            turn.is_unknown = False
            need = Need(good_bytes=keeper.held_bytes, least_bytes=keeper.held_bytes)
        elif need is None and self._needs is not None:
            held_bytes = self.taken_bytes(besides=engine.name)
            need = self._needs.known(keeper.file, engine.facts, held_bytes=held_bytes)
            turn.is_unknown = need is None and bool(self._residents(besides=engine.name))
            if turn.is_unknown and not any(one.learning for one in self._turns.values()):
                learning = self._learn(self._needs, keeper, turn)
                turn.learning = asyncio.create_task(learning, name=f"need of {engine.name}")
        work = max(work_of(engine, self._rules.interactive), turn.load or Work.NONE)
        if work is Work.NONE and turn.load is None:
            work = Work.INTERACTIVE  # whoever asked a moment ago has not given it its work yet
        return Wish(name=engine.name, need=need or _NO_NEED, work=work, since_ns=since_ns)

    async def _learn(self, needs: Needs, keeper: Keeper, turn: _Turn) -> None:
        try:
            turn.need = await needs.learn(keeper.file)
        except Exception:
            # A task's boundary: the load finds out by itself.
            log.exception("need of a model is unknown model=%s", keeper.engine.name)
            turn.need = _NO_NEED
        finally:
            turn.learning, turn.is_unknown = None, False
            self.changed()

    def _residents(self, *, besides: str) -> list[Resident]:
        interactive = self._rules.interactive
        return residents(self._keepers.values(), besides=besides, interactive=interactive)

    def _turn(self, name: str) -> _Turn:
        return self._turns.setdefault(name, _Turn())

    # -- what follows -----------------------------------------------------------------------------

    def _tell_waiting(self, keepers: Iterable[Keeper], look: _Look) -> None:
        waiting = [one.engine for one in keepers if _makes_wait(one.engine)]
        if not waiting:
            return
        due_ns = self._told_ns + round(TOLD_S * NS_PER_S)
        if look.now_ns < due_ns:
            look.due_ns.append(due_ns)
            return
        self._told_ns = look.now_ns
        look.due_ns.append(look.now_ns + round(TOLD_S * NS_PER_S))
        for engine in waiting:
            self._tell(engine)

    def _arm(self, look: _Look) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if look.due_ns:
            # A clock that stands still, as one in a test may, must not make the loop spin.
            delay_s = (min(look.due_ns) - look.now_ns) / NS_PER_S
            delay_s = min(MOST_REST_S, max(0.01, delay_s))
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._look_soon)


def _makes_wait(engine: Engine) -> bool:
    """Whether requests wait because the model is not there."""
    is_coming = engine.state in (EngineState.WAITING, EngineState.STARTING, EngineState.REOPENING)
    return bool(len(engine.journal)) and (is_coming or engine.state is EngineState.YIELDING)
