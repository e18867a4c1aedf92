"""A step loop with the real scheduler and samplers, on a runner that makes up logits."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.config import SchedulerSettings, Settings
from umad.engine.adapters.adapter_set import AdapterShelf
from umad.engine.drafts.desk import draft_desk, draft_shape
from umad.engine.drafts.drafter import OpenDraft
from umad.engine.execution import Decoded, StepRunner
from umad.engine.facts import StepTraffic
from umad.engine.mail.step_mail import Arrival, StepMail
from umad.engine.mail.step_news import News, report
from umad.engine.steps.completion_stream import CompletionStream
from umad.engine.steps.loop import CHOICE_S, StepLoop
from umad.errors import EngineFailed
from umad.models.sizes import WeightBytes
from umad.protocol.link import Emitted, Ended, FromEngine, Rejected, StepReport, Stop
from umad.request import INTERACTIVE, SamplingParams
from umad.sampling.detokenizer import Detokenizer
from umad.sampling.sampler import Sampler
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.scheduler.costs.step_cost import CostModel
from umad.step import DiskDone, HouseKept, MemoryOp, StepPlan

N_VOCAB = 32
EOG = frozenset({2})
Row = Callable[[int, int], NDArray[np.float32]]


def one_hot(token: int) -> NDArray[np.float32]:
    row = np.zeros(N_VOCAB, np.float32)
    row[token] = 9.0
    return row


def counting(rid: int, position: int) -> NDArray[np.float32]:
    """The token after position p is 10 + p % 10."""
    return one_hot(10 + position % 10)


class FakeRunner:
    """Does what `DecodeRunner` does, without a model. outcomes: of the first steps, in order."""

    nothing = Decoded("done", [], np.empty((0, N_VOCAB), np.float32), 0, 0)

    def __init__(self, rows: Row = counting, outcomes: tuple[str, ...] = ()) -> None:
        self._rows = rows
        self._outcomes = list(outcomes)
        self.plans: list[StepPlan] = []
        self.memory: list[MemoryOp] = []

    def keep_house(self, operations: tuple[MemoryOp, ...]) -> HouseKept:
        self.memory += operations
        return HouseKept()

    def run(self, plan: StepPlan) -> Decoded:
        self.keep_house(plan.memory)
        self.plans.append(plan)
        outcome: Any = self._outcomes.pop(0) if self._outcomes else "done"
        if outcome == "fatal":
            raise EngineFailed("llama_decode returned -3: no reason")
        if outcome != "done":
            return replace(self.nothing, outcome=outcome, device_ns=1000, n_rows=plan.n_rows)
        at = [(piece.rid, piece.position + 1) for piece in plan.decode]
        at += [(p.rid, p.start + p.n_tokens) for p in plan.prefill if p.wants_logits]
        rows = [self._rows(rid, position) for rid, position in at]
        logits = np.stack(rows) if rows else np.empty((0, N_VOCAB), np.float32)
        return Decoded("done", [rid for rid, _ in at], logits, 1_000_000, plan.n_rows)

    def disk_done(self, report: DiskDone) -> None:
        """No session is ever saved here."""

    def lengths(self, plan: StepPlan) -> tuple[tuple[int, int], ...]:
        return tuple((piece.seq, piece.start) for piece in plan.prefill)


def on_small_pool(
    runner: StepRunner,
    *,
    inbox: StepMail,
    hear: Callable[[News | FromEngine], None],
    now_ns: Callable[[], int],
    n_cells: int = 512,
    choice_s: float = CHOICE_S,
    adapters: AdapterShelf | None = None,
    max_seqs: int = 4,
    cost: CostModel | None = None,
    speculates: bool = False,
    draft: OpenDraft | None = None,
    n_vocab: int = N_VOCAB,
) -> StepLoop:
    """A loop on `n_cells` cells for some sequences, weights of no size; its time is `now_ns`. The
    draft takes no time."""
    scheduler = assemble(
        SchedulerSpec(
            n_cells=n_cells,
            max_seqs=max_seqs,
            batch_tokens=64,
            settings=SchedulerSettings(),
            latency_cap=1.2,
            lanes=Settings().qos,
            cost=cost,
            speculates=speculates,
            draft=None if draft is None else draft_shape(draft),
        )
    )
    return StepLoop(
        scheduler=scheduler,
        drafts=draft_desk(draft, scheduler.speculator, n_target=n_vocab, now_ns=lambda: 0),
        runner=runner,
        inbox=inbox,
        emit=hear,
        traffic=StepTraffic(
            weights=WeightBytes(dense=1), kv_cell_bytes=1, n_vocab=N_VOCAB, ubatch=64
        ),
        guarded=frozenset({INTERACTIVE}),
        now_ns=now_ns,
        choice_s=choice_s,
        adapters=adapters,
    )


class Served:
    """A loop that has run to its end on some mail, and what it said."""

    def __init__(
        self, runner: FakeRunner, *mail: object, adapters: AdapterShelf | None = None
    ) -> None:
        self.reports: list[StepReport] = []
        inbox = StepMail()
        for one in (*mail, Stop()):
            inbox.put(one)  # type: ignore[arg-type]
        now_ns = iter(range(0, 10**12, 1000)).__next__
        on_small_pool(runner, inbox=inbox, hear=self._hear, now_ns=now_ns, adapters=adapters).run()

    def _hear(self, message: News | FromEngine) -> None:
        assert isinstance(message, News)
        self.reports.append(report(message))

    def ids(self, rid: int) -> list[int]:
        return [token for news in self._emitted(rid) for token in news.ids]

    def text(self, rid: int) -> str:
        return "".join(news.text for news in self._emitted(rid))

    def ended(self, rid: int) -> list[Ended]:
        return [one for report in self.reports for one in report.ended if one.rid == rid]

    def rejected(self, rid: int) -> list[Rejected]:
        return [one for report in self.reports for one in report.rejected if one.rid == rid]

    def _emitted(self, rid: int) -> list[Emitted]:
        return [one for report in self.reports for one in report.emitted if one.rid == rid]


def letter(token: int) -> bytes:
    return bytes([ord("a") + token % 26])


def arrival(
    rid: int,
    n_prompt: int = 5,
    *,
    max_tokens: int = 6,
    stops: tuple[str, ...] = (),
    lane: str = INTERACTIVE,
) -> Arrival:
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens, stop=stops)
    tokens = np.full(n_prompt, rid, np.int32)
    return Arrival(
        stream=CompletionStream(
            rid=rid,
            sampler=Sampler(params, seed=1, n_vocab=N_VOCAB, eog=EOG, history=tokens),
            detokenizer=Detokenizer(letter, stops=stops),
            eog=EOG,
            n_prompt=n_prompt,
            n_generated=0,
            text_decides=bool(stops),
            guarded=lane == INTERACTIVE,
        ),
        admission=Submission(
            rid=rid,
            tokens=tokens,
            n_prompt=n_prompt,
            max_new_tokens=max_tokens,
            lane=lane,
            app="app",
        ),
    )
