"""Every field of the scorecard, against figures worked out by hand on a clock that stands still."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from umad.metrics import MemoryFacts, Scorecard
from umad.protocol.link import StepStats
from umad.request import FinishReason

MS = 1_000_000
S = 1_000_000_000
START_NS = 1_000 * S  # any point: the clock's zero means nothing


class Machine:
    """A scorecard and the time it is told."""

    def __init__(self, *, latency_cap: float = 1.2, budget_gbps: float | None = None) -> None:
        self.card = Scorecard(latency_cap=latency_cap, budget_gbps=budget_gbps, window_s=10.0)
        self.now_ns = START_NS
        self._totals = dict.fromkeys(
            ("cuts", "preemptions", "prompt_tokens", "cached_tokens", "sampled", "copied_rows"), 0
        )

    def wait(self, ms: float) -> None:
        self.now_ns += round(ms * MS)

    def accept(
        self,
        rid: int,
        *,
        lane: str = "interactive",
        app: str = "app",
        model: str = "m",
        cap: float | None = None,
    ) -> None:
        self.card.accepted(rid, model, lane, app, self.now_ns, latency_cap=cap)

    def tokens(self, rid: int, n: int = 1) -> None:
        self.card.tokens(rid, n, self.now_ns)

    def end(self, rid: int, reason: FinishReason = "stop") -> None:
        self.card.ended(rid, reason, self.now_ns)

    def step(
        self, *, model: str = "m", totals: Mapping[str, int] | None = None, **facts: Any
    ) -> None:
        for name, news in (totals or {}).items():
            self._totals[name] += news
        counters: dict[str, Any] = {f"{name}_total": n for name, n in self._totals.items()}
        self.card.step(model, StepStats(ended_ns=self.now_ns, **counters, **facts))

    def restart(self) -> None:
        self._totals = dict.fromkeys(self._totals, 0)
        self.card.engine_restarted("m")

    def read(self, **memory: MemoryFacts) -> dict[str, Any]:
        snapshot = self.card.snapshot(self.now_ns, memory)
        json.dumps(snapshot, allow_nan=False)
        return snapshot


def stream(machine: Machine, rid: int, gaps_ms: list[float]) -> None:
    """First token of `rid` now, then one after each gap."""
    machine.tokens(rid)
    for gap_ms in gaps_ms:
        machine.wait(gap_ms)
        machine.tokens(rid)


# -- what interactive apps feel -------------------------------------------------------------------


def test_quantiles_are_nearest_rank_over_the_gaps_between_tokens() -> None:
    machine = Machine()
    machine.accept(1)

    stream(machine, 1, [float(gap) for gap in range(1, 21)])  # 1, 2, … 20 ms

    card = machine.read()
    assert card["p50_ms"] == 10
    assert card["p95_ms"] == 19
    assert card["p99_ms"] == 20
    assert card["max_ms"] == 20


def test_the_wait_for_the_first_token_is_ttft_and_no_gap() -> None:
    machine = Machine()
    for rid, wait_ms in ((1, 100.0), (2, 300.0), (3, 200.0)):
        machine.accept(rid)
        machine.wait(wait_ms)
        machine.tokens(rid)

    card = machine.read()

    assert card["ttft_p50_ms"] == 200
    assert card["ttft_p95_ms"] == 300
    assert card["p50_ms"] is None


def test_tokens_that_arrive_together_are_one_wait_and_not_several_short_ones() -> None:
    machine = Machine()
    machine.accept(1)
    machine.tokens(1)
    machine.wait(90)
    machine.tokens(1, 3)

    card = machine.read()

    assert (card["p50_ms"], card["max_ms"]) == (90, 90)
    assert card["lanes"]["interactive"]["tokens"] == 4


def test_messages_that_were_read_at_once_are_one_wait_too() -> None:
    machine = Machine()
    machine.accept(1)
    stream(machine, 1, [90.0, 0.01, 0.01, 0.01])

    card = machine.read()

    assert (card["p50_ms"], card["max_ms"]) == (90, 90)
    assert card["apps"]["app"]["tokens"] == 5


def test_background_gaps_do_not_count_as_interactive_latency() -> None:
    machine = Machine()
    machine.accept(1)
    machine.accept(2, lane="background")
    machine.tokens(2)
    stream(machine, 1, [5.0, 5.0])
    machine.wait(990)
    machine.tokens(2)

    card = machine.read()

    assert card["max_ms"] == 5
    assert card["lanes"]["background"]["max_ms"] == 1000
    assert card["lanes"]["background"]["p95_over_solo"] is None


def test_a_pause_that_the_client_caused_is_no_gap() -> None:
    machine = Machine()
    machine.accept(1)
    stream(machine, 1, [5.0])
    machine.card.paused(1)
    machine.wait(5000)
    machine.tokens(1)
    machine.wait(7)
    machine.tokens(1)

    card = machine.read()

    assert card["max_ms"] == 7


def test_solo_is_the_95th_percentile_of_what_the_same_tokens_would_have_cost_alone() -> None:
    machine = Machine()
    machine.accept(1)
    machine.tokens(1)
    for n in range(20):
        machine.wait(30)
        machine.step(solo_ms=float(n + 1))
        machine.tokens(1)

    card = machine.read()

    assert card["solo_ms"] == 19
    assert card["apps"]["app"]["p95_over_solo"] == round(30 / 19, 4)


def test_tokens_per_second_count_at_the_cap_only_while_p95_stays_under_it() -> None:
    def run(gap_ms: float) -> dict[str, Any]:
        machine = Machine(latency_cap=1.2)
        machine.accept(1)
        machine.step(solo_ms=10.0)
        stream(machine, 1, [gap_ms] * 10)
        return machine.read()

    under, over = run(12.0), run(12.5)

    assert under["tokens_per_s_at_cap"] == under["tokens_per_s"] == round(11 / 0.120, 4)
    assert over["tokens_per_s_at_cap"] == 0
    assert over["tokens_per_s"] == 11 / 0.125
    assert over["latency_cap"] == 1.2


@pytest.mark.parametrize(
    ("gaps_ms", "ratios", "held"),
    [
        ([10.0] * 99 + [11.0], (1.0, 1.0, 1.1), True),
        ([10.0] * 94 + [12.0] * 6, (1.2, 1.2, 1.2), True),
        ([10.0] * 94 + [12.5] * 6, (1.25, 1.25, 1.25), False),
        ([10.0] * 98 + [21.0] * 2, (1.0, 2.1, 2.1), False),
        ([10.0] * 99 + [30.0], (1.0, 1.0, 3.0), True),
        ([10.0] * 99 + [30.1], (1.0, 1.0, 3.01), False),
    ],
)
def test_the_guard_is_held_while_p95_p99_and_the_longest_gap_are_within_their_bounds(
    gaps_ms: list[float], ratios: tuple[float, ...], held: bool
) -> None:
    machine = Machine(latency_cap=1.2)
    machine.accept(1)
    machine.step(solo_ms=10.0)
    machine.wait(100)
    stream(machine, 1, gaps_ms)

    card = machine.read()

    names = ("p95_over_solo", "p99_over_solo", "max_over_solo")
    assert tuple(card[name] for name in names) == ratios
    assert card["guard_held"] is held
    assert card["apps"]["app"]["guard_held"] is held


def test_an_app_is_held_to_its_own_cap() -> None:
    machine = Machine(latency_cap=1.2)
    machine.accept(1, app="zed", cap=1.1)
    machine.accept(2, app="code")
    machine.step(solo_ms=10.0)
    for rid in (1, 2):
        stream(machine, rid, [11.5] * 10)

    apps = machine.read()["apps"]

    assert (apps["zed"]["latency_cap"], apps["zed"]["guard_held"]) == (1.1, False)
    assert (apps["code"]["latency_cap"], apps["code"]["guard_held"]) == (1.2, True)


def test_nothing_is_said_of_the_guard_without_interactive_tokens() -> None:
    machine = Machine()
    machine.accept(1, lane="background")
    stream(machine, 1, [100.0] * 10)

    card = machine.read()

    assert card["guard_held"] is None
    assert card["lanes"]["background"]["guard_held"] is None


def test_background_tokens_count_when_nobody_interactive_is_there() -> None:
    machine = Machine()
    machine.accept(1, lane="background")
    stream(machine, 1, [100.0] * 10)

    assert machine.read()["tokens_per_s_at_cap"] == 11


# -- the window -----------------------------------------------------------------------------------


def test_what_is_older_than_the_window_is_forgotten() -> None:
    machine = Machine()
    machine.accept(1)
    stream(machine, 1, [500.0])
    machine.end(1)
    machine.wait(9_999)
    assert machine.read()["max_ms"] == 500

    machine.wait(1)

    card = machine.read()
    assert card["max_ms"] is None
    assert card["requests"] == 0
    assert card["apps"] == {}


def test_rates_are_over_the_window_and_over_less_while_it_fills() -> None:
    machine = Machine()
    machine.accept(1)
    stream(machine, 1, [1000.0] * 4)
    assert machine.read()["tokens_per_s"] == 5 / 4

    for _ in range(20):
        machine.wait(1000)
        machine.tokens(1)

    assert machine.read()["tokens_per_s"] == 1


def test_an_idle_scorecard_has_every_field_and_claims_nothing() -> None:
    card = Machine().read()

    assert card["tokens_per_s_at_cap"] == 0
    for name in ("p95_ms", "solo_ms", "scheduler_efficiency", "gpu_idle_pct", "copy_free_ratio"):
        assert card[name] is None


# -- the device -----------------------------------------------------------------------------------


def test_bytes_moved_are_counted_per_computed_token_and_per_second() -> None:
    machine = Machine(budget_gbps=320.0)
    machine.accept(1)
    machine.wait(1000)
    machine.step(bytes_moved=3_000_000_000, n_decode=4, n_prefill_tokens=8)
    machine.wait(1000)
    machine.step(bytes_moved=1_000_000_000, n_decode=4)

    card = machine.read()

    assert card["sum_bmt_mb_per_token"] == 250
    assert card["bmt_gbps"] == 2
    assert card["bmt_budget_gbps"] == 320


def test_efficiency_is_of_the_time_in_which_work_was_pending() -> None:
    machine = Machine()
    machine.accept(1)
    machine.wait(100)
    machine.step(device_ms=60.0)
    machine.end(1)
    machine.wait(5000)  # nothing to do: nobody's fault

    card = machine.read()

    assert card["scheduler_efficiency"] == 0.6
    assert card["gpu_idle_pct"] == 40


def test_a_cut_step_kept_the_device_busy_for_nothing() -> None:
    machine = Machine()
    machine.accept(1)
    machine.wait(100)
    machine.step(device_ms=50.0)
    machine.wait(100)
    machine.step(device_ms=100.0, totals={"cuts": 1})

    card = machine.read()

    assert card["scheduler_efficiency"] == 0.25
    assert card["gpu_idle_pct"] == 25
    assert card["cuts"] == 1


def test_a_request_that_waits_for_its_own_client_is_not_pending() -> None:
    machine = Machine()
    machine.accept(1)
    machine.wait(100)
    machine.card.awaits_client(1, machine.now_ns)
    machine.wait(5000)
    machine.card.goes_on(1, machine.now_ns)
    machine.wait(100)
    machine.step(device_ms=150.0)

    card = machine.read()

    assert (card["scheduler_efficiency"], card["gpu_idle_pct"]) == (0.75, 25)


def test_a_request_may_end_while_it_waits_for_its_client_or_be_told_so_twice() -> None:
    machine = Machine()
    for rid in (1, 2):
        machine.accept(rid)
    machine.wait(100)
    for rid in (1, 1, 2):
        machine.card.awaits_client(rid, machine.now_ns)
    machine.card.goes_on(2, machine.now_ns)
    machine.card.goes_on(2, machine.now_ns)
    machine.end(1, "error")
    machine.wait(100)
    machine.end(2)
    machine.wait(1000)
    machine.step(device_ms=100.0)

    assert machine.read()["scheduler_efficiency"] == 0.5


def test_the_gap_in_which_a_client_chose_is_its_own() -> None:
    machine = Machine()
    machine.accept(1)
    machine.wait(10)
    machine.tokens(1)
    machine.wait(10)
    machine.tokens(1)
    machine.card.awaits_client(1, machine.now_ns)
    machine.wait(4000)
    machine.card.goes_on(1, machine.now_ns)
    machine.tokens(1)

    assert machine.read()["p99_ms"] == 10


def test_pending_time_of_overlapping_requests_counts_once() -> None:
    machine = Machine()
    machine.accept(1)
    machine.wait(100)
    machine.accept(2)
    machine.wait(100)
    machine.end(1)
    machine.wait(100)
    machine.step(device_ms=150.0)

    assert machine.read()["scheduler_efficiency"] == 0.5


def test_pending_time_before_the_window_is_not_counted() -> None:
    machine = Machine()
    machine.accept(1)
    machine.wait(15_000)
    machine.end(1)
    machine.step(device_ms=5000.0)

    assert machine.read()["scheduler_efficiency"] == 0.5


def test_ratios_come_from_differences_of_counters() -> None:
    machine = Machine()
    machine.accept(1)
    machine.step(totals={"sampled": 100, "copied_rows": 100, "prompt_tokens": 50})
    machine.wait(10_000)
    machine.step(totals={"sampled": 8, "copied_rows": 2, "prompt_tokens": 40, "cached_tokens": 30})
    machine.wait(1)
    machine.step(totals={"preemptions": 3}, n_decode=6, n_prefill_tokens=4, n_background_tokens=5)

    card = machine.read()

    assert card["copy_free_ratio"] == 0.75
    assert card["prefix_hit_ratio"] == 0.75
    assert card["preemptions"] == 3
    assert card["background_share"] == 0.5


def test_a_restarted_engine_counts_from_zero_again() -> None:
    machine = Machine()
    machine.accept(1)
    machine.step(totals={"sampled": 100, "cuts": 5})
    machine.restart()
    machine.step(totals={"sampled": 10, "copied_rows": 1})

    card = machine.read()

    assert card["restarts"] == 1
    assert card["cuts"] == 5
    assert card["copy_free_ratio"] == round(109 / 110, 4)


# -- memory and queues ----------------------------------------------------------------------------


def test_memory_is_the_engines_and_in_total_the_daemons_too() -> None:
    machine = Machine()
    machine.step(cells_live=100, cells_retained=50, cells_total=8192, parked=2)

    card = machine.read(
        m=MemoryFacts(rss_bytes=3_000_000_000, pss_bytes=2_500_000_000),
        daemon=MemoryFacts(rss_bytes=100_000_000),
    )

    of_model = card["models"]["m"]
    assert (of_model["rss_gb"], of_model["pss_gb"]) == (3.0, 2.5)
    assert (card["rss_gb"], card["pss_gb"]) == (3.1, 2.5)
    assert (card["kv_cells_used"], card["kv_cells_retained"], card["kv_cells_total"]) == (
        100,
        50,
        8192,
    )
    assert card["parked"] == 2


def test_residency_churn_is_what_a_token_faulted_back_in() -> None:
    machine = Machine()
    machine.accept(1)

    def read(faulted_bytes: int) -> Any:
        held = MemoryFacts(rss_bytes=1, faulted_bytes_total=faulted_bytes)
        return machine.read(m=held)["residency_churn_mb_per_token"]

    assert read(500_000_000) is None  # loading is no churn
    machine.wait(1000)
    machine.tokens(1, 10)
    assert read(520_000_000) == 2.0


def test_the_queue_is_what_the_last_step_says_and_empty_once_all_work_has_ended() -> None:
    machine = Machine()
    machine.accept(1)
    machine.accept(2, lane="background")
    machine.step(waiting={"background": 7})
    assert machine.read()["queue_depth"] == {"interactive": 0, "background": 7}

    machine.end(1)
    machine.end(2)

    assert machine.read()["queue_depth"] == {"interactive": 0, "background": 0}


# -- models, lanes, apps --------------------------------------------------------------------------


def test_each_app_has_its_own_figures() -> None:
    machine = Machine()
    machine.accept(1, app="editor")
    machine.accept(2, app="mail")
    machine.step(solo_ms=4.0)
    stream(machine, 1, [4.0, 4.0])
    stream(machine, 2, [8.0])
    machine.end(2, "error")

    apps = machine.read()["apps"]

    assert apps["editor"]["tokens"] == 3
    assert apps["editor"]["running"] == 1
    assert apps["editor"]["p95_over_solo"] == 1.0
    assert apps["mail"]["p95_over_solo"] == 2.0
    assert apps["mail"]["requests"] == 1
    assert (apps["mail"]["running"], apps["mail"]["failed"]) == (0, 1)


def test_models_are_apart_and_the_total_holds_both() -> None:
    machine = Machine()
    machine.accept(1, model="small")
    machine.accept(2, model="large")
    machine.step(model="small", solo_ms=2.0, cells_total=100)
    machine.step(model="large", solo_ms=20.0, cells_total=1000)
    stream(machine, 1, [2.0])
    stream(machine, 2, [20.0])

    card = machine.read()

    assert card["models"]["small"]["max_ms"] == 2
    assert card["models"]["large"]["max_ms"] == 20
    assert card["max_ms"] == 20
    assert card["kv_cells_total"] == 1100
    assert set(card["models"]["small"]) == set(card) - {"window_s", "models"}


def test_a_moved_request_is_counted_where_it_is_now() -> None:
    machine = Machine()
    machine.accept(1, lane="interactive")
    stream(machine, 1, [5.0])
    machine.card.moved(1, "background")
    machine.wait(500)
    machine.tokens(1)

    card = machine.read()

    assert card["max_ms"] == 5
    assert card["lanes"]["background"]["max_ms"] == 500


def test_an_unloaded_model_leaves() -> None:
    machine = Machine()
    machine.accept(1)
    machine.card.forget("m")
    machine.tokens(1)
    machine.end(1)

    assert machine.read()["models"] == {}


def test_news_of_a_request_that_is_over_changes_nothing() -> None:
    machine = Machine()
    machine.accept(1)
    machine.end(1, "cancelled")
    before = machine.read()

    machine.tokens(1)
    machine.end(1)
    machine.card.paused(1)

    assert machine.read() == before


def test_a_request_handed_to_a_restarted_engine_keeps_its_clock() -> None:
    machine = Machine()
    machine.accept(1)
    stream(machine, 1, [5.0])
    machine.wait(2000)
    machine.accept(1)
    machine.tokens(1)

    card = machine.read()

    assert card["max_ms"] == 2000  # what its reader saw
    assert card["requests"] == 1


@pytest.mark.parametrize("n_apps", [3, 2000])
def test_names_from_clients_take_bounded_room(n_apps: int) -> None:
    machine = Machine()
    for rid in range(n_apps):
        machine.accept(rid, app=f"app-{rid}")

    apps = machine.read()["apps"]

    assert len(apps) <= 1025
    assert sum(app["running"] for app in apps.values()) == n_apps
