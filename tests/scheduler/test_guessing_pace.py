"""The pace of streams with guesses, on devices where rows are dear, cheap or free.

Time passes only in steps. A step takes 20 ms, and so much for each row beyond the first; now and
then another program makes one longer.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.scheduler.fake_device import LANES
from umad.config import SchedulerSettings
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.windows import Beginnings, Window
from umad.scheduler.speculation.choice import LONG_MS, SHORT_MS
from umad.scheduler.speculation.price_trial import TRIALS
from umad.step import Sampled, StepPlan, StepResult, Verified

STEP_MS = 20.0
N_TOKENS = 300
# A few steps are tried before it shows that they do not pay.
SLACK_MS = 12 * STEP_MS


def prose(seed: int, n_words: int = 12) -> list[int]:
    """Words in any order. The same three come again often, and go on otherwise."""
    rng = np.random.default_rng(seed)
    words: list[int] = rng.integers(0, n_words, 100 + N_TOKENS).tolist()
    return words


def edit(seed: int) -> list[int]:
    """The answer repeats the prompt, but for a word in thirty."""
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 5000, N_TOKENS)
    changed = np.where(rng.random(N_TOKENS) < 1 / 30, 7000, before)
    text: list[int] = [*before.tolist(), *changed.tolist()]
    return text


def copy(seed: int) -> list[int]:
    """The answer repeats the prompt."""
    before: list[int] = np.random.default_rng(seed).integers(0, 5000, N_TOKENS).tolist()
    return 2 * before


@dataclass
class Device:
    """Runs texts that are known beforehand, as streams. row_ms: of each row beyond the first.
    believed_ms: what the cost model takes a row for at first; None for what it costs. cuts: every
    step with guesses that may be cut is."""

    row_ms: float
    speculates: bool
    believed_ms: float | None = None
    host_ms: float = 0.0
    max_merge: int = 8
    max_seqs: int = 32
    cuts: bool = False
    able: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    now_ms: float = 0.0
    plans: list[StepPlan] = field(default_factory=list)
    # When each stream ended.
    ended_ms: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        row_ms = self.row_ms if self.believed_ms is None else self.believed_ms
        cost = CostModel()
        cost.learn_all([(n, 0, STEP_MS + row_ms * (n - 1)) for n in (1, 2, 4, 8, 16)])
        self._rng = np.random.default_rng(self.seed)
        self._texts: dict[int, list[int]] = {}
        self._scheduler = assemble(
            SchedulerSpec(
                n_cells=8192,
                max_seqs=self.max_seqs,
                batch_tokens=1024,
                settings=SchedulerSettings(max_merge=self.max_merge),
                latency_cap=1.2,
                lanes=LANES,
                cost=cost,
                speculates=self.speculates,
                **self.able,
            )
        )

    def arrive(self, rid: int, text: list[int], *, lane: str = "interactive") -> None:
        self._texts[rid] = text
        n_prompt = len(text) - N_TOKENS
        self._scheduler.submit(
            Submission(
                rid=rid,
                tokens=np.array(text[:n_prompt], np.int32),
                n_prompt=n_prompt,
                max_new_tokens=N_TOKENS,
                lane=lane,
                app="app",
                speculates=True,
            ),
            self.now_ns,
        )

    @property
    def now_ns(self) -> int:
        return int(self.now_ms * 1e6)

    def run(self) -> "Device":
        while len(self.ended_ms) < len(self._texts):
            self.step()
        return self

    def step(self) -> None:
        plan = self._scheduler.plan(self.now_ns)
        if plan.is_idle:
            return
        self.plans.append(plan)
        device_ms = STEP_MS + self.row_ms * (plan.n_rows - 1)
        if self._rng.random() < 0.03:
            device_ms *= 1.5
        if self.cuts and plan.cuttable and plan.guesses:
            self.now_ms += device_ms
            result = StepResult(outcome="cut", device_ms=device_ms, cut_ms=1.0)
            self._scheduler.apply(plan, result, self.now_ns)
            return
        felt_ms = device_ms + self.host_ms * plan.n_rows
        self.now_ms += felt_ms
        sampled = [Sampled(row.rid, self._texts[row.rid][row.position + 1]) for row in plan.decode]
        sampled += [
            Sampled(piece.rid, self._texts[piece.rid][piece.start + piece.n_tokens])
            for piece in plan.prefill
            if piece.wants_logits
        ]
        verified = []
        for one in plan.guesses:
            text, n_held = self._texts[one.rid], 0
            while n_held < len(one.tokens) and one.tokens[n_held] == text[one.start + n_held]:
                n_held += 1
                sampled.append(Sampled(one.rid, text[one.start + n_held]))
            verified.append(Verified(one.rid, n_held))
        result = StepResult(
            outcome="done",
            sampled=tuple(sampled),
            verified=tuple(verified),
            device_ms=device_ms,
            felt_ms=felt_ms,
        )
        for finished in self._scheduler.apply(plan, result, self.now_ns):
            self.ended_ms[finished.rid] = self.now_ms


def both(row_ms: float, *texts: list[int], **more: Any) -> tuple[Device, Device]:
    """The same texts without guesses and with them."""
    devices = []
    for speculates in (False, True):
        device = Device(row_ms=row_ms, speculates=speculates, **more)
        for rid, text in enumerate(texts, 1):
            device.arrive(rid, text)
        devices.append(device.run())
    return devices[0], devices[1]


@pytest.mark.parametrize("row_ms", [0.2, 2.0, 8.0, 20.0])
@pytest.mark.parametrize("n_words", [4, 12, 5000])
def test_prose_is_never_slower(row_ms: float, n_words: int) -> None:
    plain, guessed = both(row_ms, prose(1, n_words))

    assert guessed.now_ms <= 1.01 * plain.now_ms + SLACK_MS


@pytest.mark.parametrize(("row_ms", "times"), [(0.2, 3.0), (2.0, 2.0), (5.0, 1.4)])
def test_an_edit_is_faster_the_cheaper_rows_are(row_ms: float, times: float) -> None:
    plain, guessed = both(row_ms, edit(1))

    assert plain.now_ms > times * guessed.now_ms


def test_an_edit_is_not_slower_where_a_row_costs_as_much_as_a_step() -> None:
    plain, guessed = both(20.0, edit(1))

    assert guessed.now_ms <= 1.01 * plain.now_ms
    # What such a row costs is tried, and nothing else.
    assert sum(len(plan.guesses) for plan in guessed.plans) <= TRIALS


@pytest.mark.parametrize(("row_ms", "times"), [(0.2, 1.6), (2.0, 1.4), (5.0, 1.15)])
def test_rows_that_were_taken_for_dear_are_tried_and_found_cheap(
    row_ms: float, times: float
) -> None:
    # The first of its 300 tokens teach what rows cost.
    plain, guessed = both(row_ms, edit(1), believed_ms=10 * STEP_MS)

    assert plain.now_ms > times * guessed.now_ms


@pytest.mark.parametrize("believed_ms", [10 * STEP_MS, 20.0, 15.0])
@pytest.mark.parametrize("text", [edit(1), prose(1, 4)], ids=["edit", "prose"])
def test_trials_of_rows_that_are_dear_cost_next_to_nothing(
    believed_ms: float, text: list[int]
) -> None:
    plain, guessed = both(20.0, text, believed_ms=believed_ms)

    assert guessed.now_ms <= 1.01 * plain.now_ms


def test_rows_that_were_taken_for_cheap_are_found_out() -> None:
    plain, guessed = both(18.0, prose(1, 4), believed_ms=0.1)

    assert guessed.now_ms <= 1.01 * plain.now_ms + SLACK_MS


def test_time_of_the_host_counts_too() -> None:
    plain, guessed = both(0.1, prose(1, 4), host_ms=15.0)

    assert guessed.now_ms <= 1.01 * plain.now_ms + SLACK_MS


@given(
    row_ms=st.floats(0.05, 25.0),
    believed_ms=st.floats(0.05, 25.0),
    host_ms=st.floats(0.0, 5.0),
    seed=st.integers(0, 100),
    n_words=st.sampled_from([3, 8, 30]),
)
@example(row_ms=6.0, believed_ms=0.1, host_ms=0.0, seed=0, n_words=3)
@settings(max_examples=12, deadline=None)
def test_no_device_makes_words_in_any_order_slower(
    row_ms: float, believed_ms: float, host_ms: float, seed: int, n_words: int
) -> None:
    plain, guessed = both(
        row_ms, prose(seed, n_words), believed_ms=believed_ms, host_ms=host_ms, seed=seed
    )

    assert guessed.now_ms <= 1.02 * plain.now_ms + 2 * SLACK_MS


def test_a_reader_of_prose_does_not_wait_for_the_guesses_of_an_edit() -> None:
    plain, guessed = both(2.0, edit(1), prose(1, 5000))

    assert guessed.ended_ms[2] <= 1.01 * plain.ended_ms[2] + SLACK_MS


def test_background_work_has_guesses_only_while_no_interactive_stream_is_there() -> None:
    device = Device(row_ms=0.1, speculates=True)
    device.arrive(1, edit(1), lane="background")
    device.arrive(2, prose(1, 5000))

    device.run()

    with_guesses = [plan for plan in device.plans if plan.guesses]
    assert with_guesses
    for plan in with_guesses:
        assert {row.rid for row in plan.decode} == {1}
        assert plan.background


def test_a_step_with_a_prompt_in_it_has_no_guesses() -> None:
    device = Device(row_ms=0.1, speculates=True)
    device.arrive(1, edit(1))
    for _ in range(10):
        device.step()
    device.arrive(2, [*range(3000), *prose(1)])

    device.run()

    beside = [plan for plan in device.plans if plan.prefill and plan.decode]
    assert beside
    assert not any(plan.guesses for plan in beside)


@pytest.mark.parametrize(("max_merge", "guesses"), [(2, False), (3, True)])
def test_readers_who_take_turns_do_not_wait_for_guesses(max_merge: int, guesses: bool) -> None:
    device = Device(row_ms=0.1, speculates=True, max_merge=max_merge)
    for rid in (1, 2, 3):
        device.arrive(rid, edit(rid))

    while not device.ended_ms:
        device.step()

    assert any(plan.guesses for plan in device.plans) == guesses


@pytest.mark.parametrize(
    "what",
    [
        {"shares_at": "states"},
        {"can_share_prefix": False},
        {"beginnings": Beginnings(Window(n_tokens=16), lambda seq: 0)},
    ],
    ids=["states", "nothing to be shared", "windows"],
)
def test_a_model_that_cannot_take_tokens_back_has_no_guesses(what: dict[str, Any]) -> None:
    device = Device(row_ms=0.1, speculates=True, able=what)
    device.arrive(1, edit(1))

    device.run()

    assert not any(plan.guesses for plan in device.plans)


def test_a_request_that_wants_none_has_no_guesses() -> None:
    device = Device(row_ms=0.1, speculates=True)
    text = edit(1)
    device._texts[1] = text
    device._scheduler.submit(
        Submission(
            rid=1,
            tokens=np.array(text[:-N_TOKENS], np.int32),
            n_prompt=len(text) - N_TOKENS,
            max_new_tokens=N_TOKENS,
            lane="interactive",
            app="app",
        ),
        0,
    )

    device.run()

    assert not any(plan.guesses for plan in device.plans)


def test_a_lone_stream_has_long_steps_and_an_arrival_may_cut_them() -> None:
    device = Device(row_ms=6.0, speculates=True, max_seqs=64)
    device.arrive(1, copy(1))

    device.run()

    long = [plan for plan in device.plans if plan.predicted_ms > SHORT_MS and plan.decode]
    assert long
    assert all(plan.cuttable and not plan.background for plan in long)
    assert max(plan.predicted_ms for plan in long) <= LONG_MS


def test_streams_beside_each_other_have_no_long_steps() -> None:
    device = Device(row_ms=6.0, speculates=True, max_seqs=64)
    device.arrive(1, copy(1))
    device.arrive(2, copy(2))

    device.run()

    assert any(plan.guesses for plan in device.plans)
    for plan in device.plans:
        if len(plan.decode) > 1:
            assert not plan.cuttable
            assert plan.predicted_ms <= SHORT_MS


def test_a_copy_has_guesses_though_guesses_of_other_texts_have_lost() -> None:
    plain, guessed = Device(row_ms=2.0, speculates=False), Device(row_ms=2.0, speculates=True)
    speculator = guessed._scheduler.speculator
    assert speculator is not None
    speculator.gain.lost(100 * STEP_MS, STEP_MS)
    for device in (plain, guessed):
        device.arrive(1, copy(1))
        device.run()

    assert plain.now_ms > 1.5 * guessed.now_ms


def test_steps_that_are_always_cut_delay_an_answer_by_little() -> None:
    plain = Device(row_ms=6.0, speculates=False, max_seqs=64)
    cut = Device(row_ms=6.0, speculates=True, max_seqs=64, cuts=True)
    for device in (plain, cut):
        device.arrive(1, copy(1))

    assert cut.run().now_ms <= 1.15 * plain.run().now_ms


def test_what_was_guessed_and_what_it_brought_is_counted() -> None:
    device = Device(row_ms=1.0, speculates=True)
    device.arrive(1, edit(1))
    device.run()

    guessed = device._scheduler.snapshot().guessed

    assert guessed.steps_total == sum(bool(plan.guesses) for plan in device.plans)
    assert guessed.accepted_total == N_TOKENS - 1 - sum(bool(p.decode) for p in device.plans)
    assert guessed.gain > 1.5


def one_after_the_other(row_ms: float, *texts: list[int]) -> list[float]:
    """How long each text took, where each comes when the one before it has ended."""
    device, took_ms = Device(row_ms=row_ms, speculates=True), list[float]()
    for rid, text in enumerate(texts, 1):
        began_ms = device.now_ms
        device.arrive(rid, text)
        device.run()
        took_ms.append(device.now_ms - began_ms)
    return took_ms


def test_what_another_stream_of_the_app_has_said_is_copied() -> None:
    # Nothing in it repeats itself.
    first_ms, again_ms, once_more_ms = one_after_the_other(2.0, *[prose(1, 5000)] * 3)

    assert first_ms > 1.5 * again_ms
    assert first_ms > 2.0 * once_more_ms


@pytest.mark.parametrize("row_ms", [0.2, 2.0, 8.0, 20.0])
@pytest.mark.parametrize("n_words", [4, 12, 200])
def test_texts_of_other_streams_that_tell_nothing_make_none_slower(
    row_ms: float, n_words: int
) -> None:
    """Words in any order: the same three come again often, and go on otherwise."""
    texts = [prose(seed, n_words) for seed in range(1, 5)]
    plain, _ = both(row_ms, texts[-1])

    *_, last_ms = one_after_the_other(row_ms, *texts)

    assert last_ms <= 1.01 * plain.now_ms + SLACK_MS
