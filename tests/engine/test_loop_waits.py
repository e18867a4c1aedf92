"""A loop whose background work is held back sleeps as long as the scheduler says, and is heard."""

from typing_extensions import override

from tests.engine.served_loop import N_VOCAB, FakeRunner, arrival
from umad.config import SchedulerSettings, Settings
from umad.engine.facts import StepTraffic
from umad.engine.mail.step_mail import StepMail
from umad.engine.mail.step_news import News, report
from umad.engine.steps.loop import IDLE_S, StepLoop
from umad.models.sizes import WeightBytes
from umad.protocol.link import FromEngine, StepReport, Stop
from umad.request import BACKGROUND, INTERACTIVE
from umad.scheduler import SchedulerSpec, TrafficBudget, assemble

STEP_BYTES = 1_000_000


class Sleeper(StepMail):
    """Time passes in its waits alone."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.waits: list[float] = []

    @override
    def wait(self, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        self.now_ns += int(timeout_s * 1e9)
        return False


def run(lane: str, bytes_per_s: float) -> tuple[Sleeper, list[StepReport]]:
    """Six tokens under a budget, one step each; all weights, no KV."""
    inbox = Sleeper()
    reports: list[StepReport] = []

    def hear(message: News | FromEngine) -> None:
        assert isinstance(message, News)
        reports.append(report(message))

    traffic = StepTraffic(
        weights=WeightBytes(dense=STEP_BYTES), kv_cell_bytes=0, n_vocab=N_VOCAB, ubatch=64
    )
    loop = StepLoop(
        scheduler=assemble(
            SchedulerSpec(
                n_cells=512,
                max_seqs=4,
                batch_tokens=64,
                settings=SchedulerSettings(),
                latency_cap=1.2,
                lanes=Settings().qos,
                traffic=traffic,
                budget=TrafficBudget(bytes_per_s=bytes_per_s),
            )
        ),
        runner=FakeRunner(),
        inbox=inbox,
        emit=hear,
        traffic=traffic,
        guarded=frozenset({INTERACTIVE}),
        now_ns=lambda: inbox.now_ns,
    )
    for mail in (arrival(1, lane=lane), Stop()):
        inbox.put(mail)
    loop.run()
    assert sum(len(one.ids) for each in reports for one in each.emitted) == 6
    return inbox, reports


def test_background_work_sleeps_until_its_last_step_is_paid_for() -> None:
    slept, _ = run(BACKGROUND, bytes_per_s=10 * STEP_BYTES)

    # The prompt at once, five rows more: six steps, five pauses between them; logits weigh a
    # little, too.
    assert 0.5 <= slept.now_ns / 1e9 <= 0.51
    assert len(slept.waits) <= 12


def test_interactive_work_does_not_sleep() -> None:
    slept, _ = run(INTERACTIVE, bytes_per_s=STEP_BYTES / 10)

    assert slept.waits == []


def test_an_engine_that_is_held_back_for_long_is_heard_every_second() -> None:
    slept, reports = run(BACKGROUND, bytes_per_s=STEP_BYTES / 4)

    assert max(slept.waits) <= IDLE_S
    assert len(reports) >= 0.7 * slept.now_ns / 1e9
