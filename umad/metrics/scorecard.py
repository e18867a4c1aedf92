"""Records what every model, lane and app did over the last seconds, and makes the scorecard. Pure.

The fields are those of the interface's Scorecard table; `umad.metrics.summary` says how each is
computed. The scorecard is called for every step and every stream of a step. So a call keeps one row
and computes nothing; `snapshot` makes the sums and quantiles.

Inter-token time is the time that a reader waits. A reader waits only once for tokens that arrive
together, in one message or in messages read at once. So they give one sample, the whole gap, and no
zeros that would flatter the quantiles. The wait for a request's first token is its TTFT and not a
gap. A stream that is paused because its client does not read gives no sample from `paused` to the
first token after `resumed`, whatever comes meanwhile.

Owner: the daemon's event loop.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from umad.metrics.faults import FaultWindow
from umad.metrics.latest import Latest
from umad.metrics.memory import MemoryFacts
from umad.metrics.pending import PendingClock
from umad.metrics.rows import ARRIVAL, ENDING, STEP, Names, Slice
from umad.metrics.slowness import causes_of
from umad.metrics.step_facts import StepFacts
from umad.metrics.summary import Caps, Felt, feel, summarize
from umad.metrics.window import WindowRing
from umad.request import INTERACTIVE, FinishReason

_NAN = float("nan")
# No step of any model ends so soon after another. Tokens that come closer together were read from
# one buffer.
TOGETHER_NS = 50_000
# The most restarts of one model whose times are kept. A model that dies so often in a window is
# given up long before.
MOST_RESTARTS = 64
# The most tokens that are noted before they are booked. An engine's `step` comes long before.
MOST_NOTED = 4096
_NOTHING_SEEN = (0,) * 12


@dataclass(slots=True, kw_only=True)
class _Live:
    """One request that is not over."""

    model: int
    lane: int
    app: int
    accepted_ns: int
    # When its latest token came; 0 before the first.
    last_ns: int = 0
    paused: bool = False
    # The next gap is not caused by umad, so it gives no sample.
    excused: bool = False
    awaits_client: bool = False


@dataclass(slots=True, kw_only=True)
class _Model:
    """The running facts of one model."""

    pending: PendingClock
    faults: FaultWindow
    tokens: int = 0
    restarts: int = 0
    # When the latest restarts were over.
    restarted_ns: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_RESTARTS))
    # The counters of the latest step.
    seen: tuple[int, ...] = _NOTHING_SEEN
    latest: StepFacts | None = None


class Scorecard:
    """Takes events in and gives one object out.

    latency_cap and budget_gbps are only reported and compared with; nothing here enforces them.
    """

    def __init__(
        self,
        *,
        latency_cap: float,
        budget_gbps: float | None,
        window_s: float = 30.0,
        interactive_lane: str = INTERACTIVE,
    ) -> None:
        self._window_ns = int(window_s * 1e9)
        self._caps = Caps(latency_cap=latency_cap, budget_gbps=budget_gbps)
        self._models: dict[int, _Model] = {}
        self._live: dict[int, _Live] = {}
        self._pending = PendingClock(window_ns=self._window_ns)
        self._model_names, self._lane_names, self._app_names = Names(), Names(), Names()
        self._interactive = self._lane_names.number(interactive_lane)
        self._arrivals = WindowRing(ARRIVAL, window_ns=self._window_ns)
        self._steps = WindowRing(STEP, window_ns=self._window_ns)
        self._endings = WindowRing(ENDING, window_ns=self._window_ns)
        self._began_ns: int | None = None
        self._noted: list[tuple[int, int, int, float, int]] = []

    # -- requests -----------------------------------------------------------------------------

    def accepted(
        self,
        rid: int,
        model: str,
        lane: str,
        app: str,
        now_ns: int,
        *,
        latency_cap: float | None = None,
    ) -> None:
        """A completion entered the queue. latency_cap: its app's own; None for the common one."""
        if self._began_ns is None:
            self._began_ns = now_ns
        if latency_cap is not None:
            self._caps.app_caps[self._app_names.number(app)] = latency_cap
        if rid in self._live:  # handed to a restarted engine: its client's wait goes on
            return
        number, facts = self._model(model)
        self._live[rid] = _Live(
            model=number,
            lane=self._lane_names.number(lane),
            app=self._app_names.number(app),
            accepted_ns=now_ns,
        )
        facts.pending.began(now_ns)
        self._pending.began(now_ns)

    def tokens(self, rid: int, n: int, now_ns: int, solo_ms: float = 0.0, carried: int = 0) -> None:
        """`n` tokens of a completion went out together.

        solo_ms: the wait for them as it would have been without background work; 0 for unknown.
        carried: what their step carried beside them, in bits of `umad.step`.
        The call only notes this. Rows are made for many notes at once, before anything else is
        booked.
        """
        self._noted.append((rid, n, now_ns, solo_ms, carried))
        if len(self._noted) >= MOST_NOTED:
            self._digest()

    def _digest(self) -> None:
        for noted in self._noted:
            self._arrived(*noted)
        self._noted.clear()

    def _arrived(self, rid: int, n: int, now_ns: int, solo_ms: float, carried: int) -> None:
        live = self._live.get(rid)
        if live is None or n < 1:
            return
        model = self._models[live.model]
        model.tokens += n
        first = live.last_ns == 0
        waited_ns = now_ns - (live.accepted_ns if first else live.last_ns)
        is_gap = not first and not live.excused and waited_ns > TOGETHER_NS
        self._arrivals.append(
            (
                now_ns,
                n,
                waited_ns / 1e6 if is_gap else _NAN,
                waited_ns / 1e6 if first else _NAN,
                solo_ms if solo_ms > 0 and live.lane == self._interactive else _NAN,
                carried,
                live.model,
                live.lane,
                live.app,
            )
        )
        live.last_ns = now_ns
        live.excused = live.paused

    def paused(self, rid: int) -> None:
        """The client reads too slowly. It causes the waits from here on itself."""
        self._digest()
        live = self._live.get(rid)
        if live is not None:
            live.paused = live.excused = True

    def resumed(self, rid: int) -> None:
        """The client has caught up. It still caused the gap that is under way."""
        self._digest()
        live = self._live.get(rid)
        if live is not None:
            live.paused = False

    def awaits_client(self, rid: int, now_ns: int) -> None:
        """The request waits for its client, so none of its work is pending and umad does not cause
        the gap."""
        self._digest()
        live = self._live.get(rid)
        if live is None or live.awaits_client:
            return
        live.awaits_client = live.excused = True
        self._models[live.model].pending.ended(now_ns)
        self._pending.ended(now_ns)

    def goes_on(self, rid: int, now_ns: int) -> None:
        """The client has done its part."""
        live = self._live.get(rid)
        if live is None or not live.awaits_client:
            return
        live.awaits_client = False
        self._models[live.model].pending.began(now_ns)
        self._pending.began(now_ns)

    def moved(self, rid: int, lane: str) -> None:
        """The completion changed lanes. Its earlier waits stay with the old lane."""
        self._digest()
        live = self._live.get(rid)
        if live is not None:
            live.lane = self._lane_names.number(lane)

    def ended(
        self,
        rid: int,
        reason: FinishReason,
        now_ns: int,
        *,
        texts: int = 0,
        texts_cached: int = 0,
    ) -> None:
        """A completion is over, or a request to embed or to rank: of so many texts, and of so many
        that were not computed.
        """
        self._digest()
        live = self._live.pop(rid, None)
        if live is None:
            return
        failed = reason == "error"
        self._endings.append((now_ns, failed, texts, texts_cached, live.model, live.lane, live.app))
        if live.awaits_client:
            return
        self._models[live.model].pending.ended(now_ns)
        self._pending.ended(now_ns)

    # -- engines ------------------------------------------------------------------------------

    def step(self, model: str, stats: StepFacts) -> None:
        """An engine's step ended."""
        self._digest()
        if self._began_ns is None:
            self._began_ns = stats.ended_ns
        number, facts = self._model(model)
        seen = (
            stats.sampled_total,
            stats.copied_rows_total,
            stats.prompt_tokens_total,
            stats.cached_tokens_total,
            stats.cuts_total,
            stats.preemptions_total,
            stats.guess_steps_total,
            stats.guesses_held_total,
            *(stats.media_encoded_total, stats.media_reused_total, stats.encode_us_total),
            stats.row_copies_total,
        )
        news = [now - before for now, before in zip(seen, facts.seen, strict=True)]
        facts.seen = seen
        facts.latest = stats
        cut = news[4] > 0
        self._steps.append(
            (
                stats.ended_ns,
                stats.began_ns or stats.ended_ns,
                stats.device_ms,
                0.0 if cut else stats.device_ms,
                stats.coreless_ms,
                stats.bytes_moved,
                stats.n_decode + stats.n_prefill_tokens,
                stats.n_background_tokens,
                *news,
                number,
            )
        )

    def engine_restarted(self, model: str, now_ns: int | None = None) -> None:
        """The model's engine died and was started again; its counters begin at zero.

        now_ns: when the new one was ready; None where that is not known.
        """
        self.engine_suspended(model)
        facts = self._model(model)[1]
        facts.restarts += 1
        if now_ns is not None:
            facts.restarted_ns.append(now_ns)

    def engine_suspended(self, model: str) -> None:
        """The model's idle engine has ended on purpose; the next one counts from zero."""
        self._digest()
        facts = self._model(model)[1]
        facts.seen = _NOTHING_SEEN
        facts.latest = None

    def forget(self, model: str) -> None:
        """The model was unloaded: it leaves the snapshot once its requests have ended."""
        self._digest()
        number = self._model_names.number(model)
        self._models.pop(number, None)
        for rid in [rid for rid, live in self._live.items() if live.model == number]:
            del self._live[rid]

    # -- reading ------------------------------------------------------------------------------

    def snapshot(self, now_ns: int, memory: Mapping[str, MemoryFacts]) -> dict[str, Any]:
        """Return the interface's scorecard object, JSON-able. A figure without a measurement is
        None.

        memory: the memory facts by model; other keys (the daemon) count in the total only.
        """
        self._digest()
        from_ns = now_ns - self._window_ns
        began_ns = now_ns if self._began_ns is None else self._began_ns
        elapsed_s = min(self._window_ns, max(now_ns - began_ns, 1)) / 1e9
        arrivals, steps = self._arrivals.since(from_ns), self._steps.since(from_ns)
        endings = self._endings.since(from_ns)
        live = np.array(
            [(0, False, 0, 0, one.model, one.lane, one.app) for one in self._live.values()],
            dtype=ENDING,
        )
        whole = Slice(
            arrivals=arrivals,
            steps=steps,
            endings=endings,
            live=live,
            interactive=self._interactive,
            causes=causes_of(
                arrivals,
                steps,
                {number: tuple(one.restarted_ns) for number, one in self._models.items()},
            ),
        )

        def felt_in(part: Slice) -> Felt:
            return feel(
                part,
                self._caps,
                elapsed_s=elapsed_s,
                lanes=self._lane_names.names,
                apps=self._app_names.names,
                now_ns=now_ns,
                window_ns=self._window_ns,
            )

        felt = felt_in(whole)

        def section(part: Slice, latest: Latest) -> dict[str, Any]:
            # The rows of the only model are all rows.
            its = felt if part is whole else felt_in(part)
            return summarize(part, latest, self._caps, its, elapsed_s=elapsed_s)

        by_model: dict[str, Latest] = {}
        models: dict[str, Any] = {}
        for number, facts in self._models.items():
            name = self._model_names.names[number]
            by_model[name] = latest = self._latest(facts, now_ns, memory.get(name))
            models[name] = {"model": name, **section(whole.of("model", number), latest)}
        others = [held for name, held in memory.items() if name not in by_model]
        total = Latest.total(
            list(by_model.values()), others, pending_ns=self._pending.wall_ns(now_ns)
        )
        return {
            "model": ", ".join(models) or None,
            "window_s": self._window_ns / 1e9,
            **section(whole, total),
            "models": models,
        }

    def _latest(self, facts: _Model, now_ns: int, held: MemoryFacts | None) -> Latest:
        faulted, over_tokens = facts.faults.read(held, facts.tokens, now_ns)
        stats = facts.latest
        return Latest(
            pending_ns=facts.pending.wall_ns(now_ns),
            rss_bytes=held.rss_bytes if held else None,
            pss_bytes=held.pss_bytes if held else None,
            faulted_bytes=faulted,
            faulted_over_tokens=over_tokens,
            restarts=facts.restarts,
            cells_used=stats.cells_live if stats else 0,
            cells_retained=stats.cells_retained if stats else 0,
            cells_total=stats.cells_total if stats else 0,
            parked=stats.parked if stats else 0,
            speculation_gain=stats.speculation_gain if stats else 0.0,
            cut_ms=stats.cut_ms if stats else 0.0,
            # An idle engine makes no steps, so its last report of the queue is stale.
            waiting=dict(stats.waiting) if stats and facts.pending.live else {},
        )

    def _model(self, name: str) -> tuple[int, _Model]:
        number = self._model_names.number(name)
        facts = self._models.get(number)
        if facts is None:
            facts = _Model(
                pending=PendingClock(window_ns=self._window_ns),
                faults=FaultWindow(window_ns=self._window_ns),
            )
            self._models[number] = facts
        return number, facts
