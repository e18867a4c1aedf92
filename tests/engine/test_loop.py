"""The step loop with the real scheduler and samplers, on a runner that makes up logits."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from umad.config import SchedulerSettings, Settings
from umad.engine.execution import Decoded
from umad.engine.facts import StepTraffic
from umad.engine.inbox import Arrival, Inbox
from umad.engine.loop import StepLoop
from umad.engine.news import News, report
from umad.engine.stream import Stream
from umad.errors import EngineFailed
from umad.models.sizes import WeightBytes
from umad.protocol.link import Cancel, Emitted, Ended, FromEngine, Rejected, StepReport, Stop
from umad.request import BACKGROUND, INTERACTIVE, SamplingParams
from umad.sampling.detokenizer import Detokenizer
from umad.sampling.sampler import Sampler
from umad.scheduler import Admission, Scheduler
from umad.step import DiskDone, HouseKept, MemoryOp, SeqTrim, StepPlan

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


class Served:
    """A loop that has run to its end on some mail, and what it said."""

    def __init__(self, runner: FakeRunner, *mail: object, n_cells: int = 512) -> None:
        self.inbox = Inbox()
        self.reports: list[StepReport] = []
        settings = Settings()
        loop = StepLoop(
            scheduler=Scheduler(
                n_cells=n_cells,
                max_seqs=4,
                batch_tokens=64,
                settings=SchedulerSettings(),
                latency_cap=1.2,
                lanes=settings.qos,
            ),
            runner=runner,
            inbox=self.inbox,
            emit=self._hear,
            traffic=StepTraffic(
                weights=WeightBytes(dense=1), kv_cell_bytes=1, n_vocab=N_VOCAB, ubatch=64
            ),
            guarded=frozenset({INTERACTIVE}),
            now_ns=iter(range(0, 10**12, 1000)).__next__,
        )
        for one in (*mail, Stop()):
            self.inbox.put(one)  # type: ignore[arg-type]
        loop.run()

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
        stream=Stream(
            rid=rid,
            sampler=Sampler(params, seed=1, n_vocab=N_VOCAB, eog=EOG, history=tokens),
            detokenizer=Detokenizer(letter, stops=stops),
            eog=EOG,
            n_prompt=n_prompt,
            n_generated=0,
            text_decides=bool(stops),
            guarded=lane == INTERACTIVE,
        ),
        admission=Admission(
            rid=rid,
            tokens=tokens,
            n_prompt=n_prompt,
            max_new_tokens=max_tokens,
            lane=lane,
            app="app",
        ),
    )


def test_a_stream_gets_its_tokens_its_text_and_one_end() -> None:
    served = Served(FakeRunner(), arrival(1))

    assert served.ids(1) == [15, 16, 17, 18, 19, 10]
    assert served.text(1) == "pqrstk"
    (ended,) = served.ended(1)
    assert (ended.reason, ended.completion_tokens, ended.prompt_tokens) == ("length", 6, 5)


def test_an_end_token_ends_the_stream_and_is_no_text() -> None:
    def rows(rid: int, position: int) -> NDArray[np.float32]:
        return one_hot(2) if position == 7 else counting(rid, position)

    served = Served(FakeRunner(rows), arrival(1))

    assert served.ids(1) == [15, 16, 2]
    assert served.text(1) == "pq"
    assert served.ended(1)[0].reason == "stop"


def test_a_stop_string_ends_the_stream_with_the_very_token_that_completes_it() -> None:
    served = Served(FakeRunner(), arrival(1, stops=("rs",)))

    assert served.ids(1) == [15, 16, 17, 18]
    assert served.text(1) == "pq"
    (ended,) = served.ended(1)
    assert (ended.reason, ended.stop, ended.completion_tokens) == ("stop", "rs", 4)


def test_text_held_back_for_a_stop_string_that_never_came_is_sent_at_the_end() -> None:
    served = Served(FakeRunner(), arrival(1, max_tokens=3, stops=("rx",)))

    assert served.text(1) == "pqr"
    assert served.ended(1)[0].stop is None


def test_a_row_that_is_not_a_number_fails_its_request_and_no_other() -> None:
    def rows(rid: int, position: int) -> NDArray[np.float32]:
        row = counting(rid, position)
        if rid == 2 and position == 7:
            row[5] = np.nan
        return row

    served = Served(FakeRunner(rows), arrival(1), arrival(2), arrival(3))

    (rejected,) = served.rejected(2)
    assert rejected.code == "internal"
    assert served.ids(2) == [15, 16]
    assert served.ended(2) == []
    assert served.ids(1) == served.ids(3) == [15, 16, 17, 18, 19, 10]


def test_a_cut_step_loses_nothing_and_is_counted() -> None:
    calm = Served(FakeRunner(), arrival(1, 100, lane=BACKGROUND))

    cut = Served(FakeRunner(outcomes=("cut", "cut")), arrival(1, 100, lane=BACKGROUND))

    assert cut.ids(1) == calm.ids(1)
    assert [r.stats.cuts_total for r in cut.reports if r.stats][-1] == 2
    assert sum(r.stats.n_prefill_tokens for r in cut.reports if r.stats) == 100


def test_after_a_cut_the_pool_is_brought_back_to_what_the_books_say() -> None:
    runner = FakeRunner(outcomes=("cut",))

    Served(runner, arrival(1, 100, lane=BACKGROUND))

    assert isinstance(runner.memory[0], SeqTrim)
    assert runner.memory[0].keep_tokens == 0


def test_a_step_that_finds_no_cells_is_made_again() -> None:
    served = Served(FakeRunner(outcomes=("no_memory",)), arrival(1))

    assert served.ids(1) == [15, 16, 17, 18, 19, 10]


def test_an_error_of_llama_cpp_ends_the_loop_with_its_reason() -> None:
    with pytest.raises(EngineFailed, match="-3"):
        Served(FakeRunner(outcomes=("done", "fatal")), arrival(1))


def test_what_does_not_fit_the_pool_is_refused_while_others_run() -> None:
    served = Served(FakeRunner(), arrival(1), arrival(2, 600))

    assert served.rejected(2)[0].code == "prompt_too_long"
    assert served.ended(1)[0].reason == "length"


def test_a_cancelled_stream_gets_exactly_one_end() -> None:
    served = Served(FakeRunner(), arrival(1), Cancel(rid=1), Cancel(rid=1), Cancel(rid=99))

    (ended,) = served.ended(1)
    assert ended.reason == "cancelled"
    assert served.ended(99) == []


def test_progress_counts_prompt_tokens_up_to_all_of_them() -> None:
    served = Served(FakeRunner(), arrival(1, 150))

    progress = [p for report in served.reports for p in report.prefilled]
    assert [p.done_tokens for p in progress] == sorted(p.done_tokens for p in progress)
    assert progress[-1].done_tokens == progress[-1].total_tokens == 150


def test_background_tokens_are_counted_apart() -> None:
    served = Served(FakeRunner(), arrival(1, 20, lane=BACKGROUND), arrival(2, 30))

    stats = [report.stats for report in served.reports if report.stats is not None]
    assert sum(one.n_prefill_tokens for one in stats) == 50
    # The whole prompt of one and its decode rows; the first token comes with the prompt.
    assert sum(one.n_background_tokens for one in stats) == 20 + 5
    assert stats[-1].running == 0
