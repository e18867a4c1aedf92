"""What an engine knows of its machine before anybody has come."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.engine.harness import engine, start
from tests.engine.served_loop import N_VOCAB, FakeRunner, arrival
from umad import nano
from umad.config import EngineSettings, SchedulerSettings, Settings
from umad.engine.facts import ModelFacts, StepTraffic
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp.decode_runner import DecodeRunner
from umad.engine.mail.intake import Intake
from umad.engine.mail.step_mail import Arrival
from umad.engine.steps.rehearsal import Rehearsal
from umad.models.sizes import WeightBytes
from umad.protocol.link import Submit
from umad.request import BACKGROUND
from umad.scheduler.costs.cost_curve import ROWS
from umad.scheduler.costs.step_cost import CostModel

OPTIONS = EngineOptions(
    name="nano",
    path=str(nano.path()),
    engine=EngineSettings(ctx_size=2048, max_seqs=8, threads=1, gpu_layers=0),
)


def known(folder: Path) -> dict[str, dict[int, float]]:
    """Milliseconds by number of rows of every curve in the only file of costs, where seen."""
    (file,) = (folder / "umad" / "costs").iterdir()
    curves = json.loads(file.read_text())["costs"]
    return {
        name: {n: ms for n, (ms, seen) in zip(ROWS, points, strict=True) if seen}
        for name, (points, _) in curves.items()
    }


def test_a_first_start_knows_what_a_stream_feels_alone_before_anybody_comes(
    tmp_path: Path,
) -> None:
    with start(OPTIONS, cache=tmp_path) as running:
        running.ready()
        learnt = known(tmp_path)

    # However busy the machine is; how much more there is time for, a clock of its own shows below.
    assert 1 in learnt["pace"]
    assert all(ms >= 0 for ms in learnt["pace"].values())


def test_a_rehearsal_leaves_nothing_behind_in_pool_or_counts() -> None:
    with start(OPTIONS) as running:
        running.ready()
        running.generate(1, prompt="def main():", max_tokens=3)

        stats = running.last_stats

    assert stats.sampled_total == 3
    assert stats.cached_tokens_total == 0
    assert stats.cells_live + stats.cells_retained <= stats.prompt_tokens_total + 3
    assert stats.cuts_total == 0


@pytest.mark.parametrize(
    "settings",
    [{"max_seqs": 1}, {"max_seqs": 2}, {"ctx_size": 256, "batch": 16}, {"batch": 16, "ubatch": 8}],
)
def test_the_smallest_pools_are_rehearsed_in_as_well(settings: dict[str, Any]) -> None:
    with engine(nano.path(), **settings) as running:
        running.ready()

        completion = running.generate(1, prompt="x", max_tokens=3, lane=BACKGROUND)

    assert len(completion.ids) == 3


class FakeIntake:
    """Makes arrivals of what it is asked to take."""

    def take(self, submit: Submit) -> Arrival:
        assert submit.prompt_ids is not None
        return arrival(
            submit.rid,
            len(submit.prompt_ids),
            max_tokens=submit.sampling.max_tokens or 1,
            lane=submit.lane,
        )


def rehearsed(*, step_ms: float, cost: CostModel | None = None) -> tuple[FakeRunner, CostModel]:
    """On a device that takes so long for a step, whatever is in it."""
    ticks = iter(range(0, 10**15, int(step_ms * 1e6 / 4)))  # four looks at the clock a step
    runner, cost = FakeRunner(), cost or CostModel()
    Rehearsal(
        facts=cast(
            ModelFacts,
            SimpleNamespace(
                n_vocab=N_VOCAB,
                n_cells=4096,
                max_seqs=8,
                can_share_prefix=True,
                shares_at="anywhere",
                cut_share=0.0,
            ),
        ),
        cost=cost,
        runner=cast(DecodeRunner, runner),
        intake=cast(Intake, FakeIntake()),
        traffic=StepTraffic(
            weights=WeightBytes(dense=1), kv_cell_bytes=1, n_vocab=N_VOCAB, ubatch=64
        ),
        lanes=Settings().qos,
        settings=SchedulerSettings(),
        latency_cap=1.2,
        batch_tokens=64,
        most_prompt_tokens=4096,
        now_ns=ticks.__next__,
    ).run()
    return runner, cost


def test_on_a_quick_device_one_and_three_streams_are_known_alone_and_beside_a_prompt() -> None:
    runner, cost = rehearsed(step_ms=1.0)

    pace = {n for n, (_, seen) in zip(ROWS, cost.pace.snapshot(), strict=True) if seen}
    mixed = [seen for _, seen in cost.mixed.rows.snapshot() if seen]
    assert {1, 3} <= pace
    assert sum(mixed) >= 10
    assert any(len(plan.decode) == 3 and plan.prefill for plan in runner.plans)


def test_on_a_device_of_usual_speed_a_slice_beside_a_stream_is_known() -> None:
    """Forty steps of one stream alone would take all of the time."""
    _, cost = rehearsed(step_ms=14.0)

    assert any(seen for _, seen in cost.mixed.rows.snapshot())


def test_on_a_slow_device_a_rehearsal_is_over_after_a_few_steps() -> None:
    runner, _ = rehearsed(step_ms=150.0)

    assert 1 <= len(runner.plans) <= 5


def test_however_slow_the_device_is_a_stream_alone_is_known() -> None:
    runner, cost = rehearsed(step_ms=2_000.0)

    assert 1 in {n for n, (_, seen) in zip(ROWS, cost.pace.snapshot(), strict=True) if seen}
    assert len(runner.plans) <= 3


def test_where_the_pace_is_remembered_a_few_steps_wake_the_code_and_no_more() -> None:
    _, cost = rehearsed(step_ms=1.0)

    runner, _ = rehearsed(step_ms=1.0, cost=cost)

    assert 1 <= len(runner.plans) <= 60
