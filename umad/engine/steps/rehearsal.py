"""Runs a few streams that nobody reads through a real step loop, before the model is ready.

A probe of bare decodes tells what the device costs (`warm_up`). It misses two things: the host's
share of the time between two tokens of an interactive stream, and the cost of a prefill slice
beside such a stream. The rehearsal measures both with the loop, scheduler and samplers that will
serve, so the first request already meets slices of the right size. Only the cost model keeps what
was learnt: no count shows the rehearsal, and its caller clears the pool. It is bounded: small
models get `STEPS` of each kind, large ones as many as fit into `REHEARSAL_MS`, the same time for
each kind, and at least the `TELLING_STEPS` of one stream. Where the pace is remembered from an
earlier start, a few steps only warm the code up. Owner: the thread that loads the model, or one
that it waits for.
"""

from collections.abc import Callable, Mapping

import numpy as np

from umad.config import LaneSettings, SchedulerSettings, guarded_lanes
from umad.engine.execution import StepRunner
from umad.engine.facts import ModelFacts, StepTraffic
from umad.engine.mail.intake import Intake
from umad.engine.mail.step_mail import Arrival, StepMail
from umad.engine.mail.step_news import News, encode_news
from umad.engine.steps.loop import StepLoop
from umad.errors import InternalError
from umad.protocol.link import CancelOrder, FromEngine, Stop, Submit
from umad.request import SamplingParams
from umad.scheduler import SchedulerSpec, assemble
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.windows import Beginnings
from umad.units import NS_PER_MS

REHEARSAL_MS = 400.0
STEPS = 40
# The first token comes with the prompt. The second one is the first that a reader waits for.
TELLING_STEPS = 2
# (streams, whether a long prompt runs beside them), the most usual first.
_SCENES = ((1, False), (1, True), (3, False), (3, True))
# The bounds of a rehearsal where the pace is known already.
_WAKING_MS = 50.0
_WAKING_SCENES = ((1, True),)
_SHORT_TOKENS = 8
_LONG_TOKENS = 512


class Rehearsal:
    """The rehearsal of one model."""

    def __init__(
        self,
        *,
        facts: ModelFacts,
        cost: CostModel,
        runner: StepRunner,
        intake: Intake,
        traffic: StepTraffic,
        lanes: Mapping[str, LaneSettings],
        settings: SchedulerSettings,
        latency_cap: float,
        batch_tokens: int,
        most_prompt_tokens: int,
        now_ns: Callable[[], int],
        beginnings: Beginnings | None = None,
    ) -> None:
        self._intake = intake
        self._now_ns = now_ns
        self._rng = np.random.default_rng(0)
        self._n_vocab = facts.n_vocab
        guarded = guarded_lanes(lanes)
        by_priority = sorted(lanes, key=lambda name: lanes[name].priority)
        self._guarded_lane = next(name for name in by_priority if name in guarded)
        self._lowest_lane = by_priority[0]
        is_known = cost.pace.is_known
        self._left_ms = _WAKING_MS if is_known else REHEARSAL_MS
        self._least_steps = 1 if is_known else TELLING_STEPS
        self._scenes = [
            (n_streams, beside and self._lowest_lane not in guarded)
            for n_streams, beside in (_WAKING_SCENES if is_known else _SCENES)
            if n_streams + beside <= facts.max_seqs
        ]
        self._short_tokens = min(_SHORT_TOKENS, most_prompt_tokens)
        # All streams of a scene and their answers fit into the pool.
        self._long_tokens = min(_LONG_TOKENS, most_prompt_tokens, facts.n_cells // 2)
        self._reply_tokens = max(1, min(2 * STEPS, facts.n_cells // 8 - _SHORT_TOKENS))
        self._inbox = StepMail()
        self._live: set[int] = set()
        self._stopping = False
        self._rids = 0
        self._steps = 0
        self._ends_ns = 0
        self._scene_ends_ns = 0
        self._loop = StepLoop(
            scheduler=assemble(
                SchedulerSpec(
                    n_cells=facts.n_cells,
                    max_seqs=facts.max_seqs,
                    batch_tokens=batch_tokens,
                    settings=settings,
                    latency_cap=latency_cap,
                    lanes=lanes,
                    cost=cost,
                    can_share_prefix=facts.can_share_prefix,
                    shares_at=facts.shares_at,
                    beginnings=beginnings,
                    cut_share=facts.cut_share,
                )
            ),
            runner=runner,
            inbox=self._inbox,
            emit=self._heard,
            traffic=traffic,
            guarded=guarded,
            now_ns=now_ns,
            at_rest=self._stop,
        )

    def run(self) -> None:
        """Run the rehearsal. Blocks for about `REHEARSAL_MS` and `TELLING_STEPS` at most."""
        self._ends_ns = self._now_ns() + int(self._left_ms * NS_PER_MS)
        self._next_scene()
        self._loop.run()

    def _heard(self, message: News | FromEngine) -> None:
        """Receive news in place of the daemon: encode it as for the daemon, then drop it."""
        if not isinstance(message, News) or self._stopping:
            return
        encode_news(message)
        self._steps += bool(message.drawn)
        self._live -= {finished.rid for finished, _ in message.ended}
        self._live -= {rejected.rid for rejected in message.rejected}
        now_ns = self._now_ns()
        is_told = self._steps >= self._least_steps or not self._live
        if now_ns >= self._ends_ns and is_told:
            self._stop()
        elif self._steps >= STEPS or not self._live or (now_ns >= self._scene_ends_ns and is_told):
            self._end_scene()
            self._next_scene()

    def _stop(self) -> None:
        self._stopping = True
        self._end_scene()
        self._inbox.put(Stop())

    def _end_scene(self) -> None:
        for rid in self._live:
            self._inbox.put(CancelOrder(rid=rid))
        self._live.clear()

    def _next_scene(self) -> None:
        if not self._scenes:
            self._stop()
            return
        # What one scene leaves goes to the others.
        now_ns = self._now_ns()
        self._scene_ends_ns = now_ns + (self._ends_ns - now_ns) // len(self._scenes)
        n_streams, beside = self._scenes.pop(0)
        self._steps = 0
        for _ in range(n_streams):
            self._arrive(self._guarded_lane, self._short_tokens)
        if beside:
            self._arrive(self._lowest_lane, self._long_tokens)

    def _arrive(self, lane: str, n_tokens: int) -> None:
        self._rids += 1
        arrival = self._intake.take(
            Submit(
                rid=self._rids,
                lane=lane,
                app="rehearsal",
                prompt_ids=tuple(self._rng.integers(0, self._n_vocab, n_tokens).tolist()),
                sampling=SamplingParams(
                    max_tokens=self._reply_tokens, seed=self._rids, ignore_eos=True, fit=True
                ),
            )
        )
        if not isinstance(arrival, Arrival):
            raise InternalError("a new request has not ended yet")
        self._live.add(self._rids)
        self._inbox.put(arrival)
