"""The scorecard's figures of the device, of memory and of the queue, worked out by hand."""

from typing import Any

from tests.metrics.machine import Machine
from umad.metrics import MemoryFacts


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


def test_copies_of_a_row_count_those_of_the_library_too() -> None:
    machine = Machine()
    machine.accept(1)
    before = machine.read()
    machine.step(totals={"sampled": 8, "copied_rows": 2, "row_copies": 10})

    assert before["copies_per_row"] is None
    assert machine.read()["copies_per_row"] == 1.25


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


def test_what_guesses_of_next_tokens_bring_is_told() -> None:
    machine = Machine()
    machine.accept(1)
    before = machine.read()
    machine.wait(100)
    machine.step(totals={"guess_steps": 10, "guesses_held": 25}, speculation_gain=1.7)

    card = machine.read()

    assert before["accepted_per_step"] is None
    assert before["speculation_gain"] is None
    assert card["accepted_per_step"] == 2.5
    assert card["speculation_gain"] == 1.7


def test_how_long_an_arrival_waits_for_a_cut_is_told_once_it_is_known() -> None:
    machine = Machine()
    machine.accept(1)
    before = machine.read()
    machine.wait(100)
    machine.step(cut_ms=12.5)

    assert before["cut_ms"] is None
    assert machine.read()["cut_ms"] == 12.5


def test_media_that_were_encoded_and_those_that_were_at_hand_are_told() -> None:
    machine = Machine()
    machine.accept(1)
    before = machine.read()
    machine.wait(100)
    machine.step(totals={"media_encoded": 2, "media_reused": 3, "encode_us": 500_000})

    card = machine.read()

    assert (before["media_encoded"], before["encode_ms"]) == (0, None)
    assert (card["media_encoded"], card["media_reused"]) == (2, 3)
    assert card["encode_ms"] == 250.0
    assert card["models"]["m"]["media_encoded"] == 2
