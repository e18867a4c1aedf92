"""For each gap beyond the cap it is told what else happened meanwhile."""

import pytest

from tests.metrics.machine import MS, Machine
from umad.step import (
    CARRIED_BACKGROUND,
    CARRIED_COPY,
    CARRIED_EMBEDDING,
    CARRIED_MOST,
    CARRIED_PROMPT,
)

CAUSES = ("background", "prompt", "copy", "embedding", "cores", "other_model", "restart", "nothing")


def reading() -> Machine:
    """A reader who has had the first token; alone, the next ones would come every 10 ms."""
    machine = Machine(latency_cap=1.2)
    machine.accept(1, app="editor")
    machine.wait(100)
    machine.tokens(1)
    machine.solo_ms = 10.0
    return machine


def late(machine: Machine, ms: float = 30.0) -> None:
    """A gap beyond the cap."""
    machine.wait(ms)
    machine.tokens(1)


def told(machine: Machine, app: str = "editor") -> dict[str, int]:
    """The causes of the app's late gaps, those that occur."""
    card = machine.read()
    slowed_by: dict[str, int] = card["apps"][app]["slowed_by"]
    assert tuple(slowed_by) == CAUSES
    return {cause: n for cause, n in slowed_by.items() if n}


@pytest.mark.parametrize(
    ("carried", "causes"),
    [
        (0, {"nothing": 1}),
        (CARRIED_BACKGROUND, {"background": 1}),
        (CARRIED_PROMPT, {"prompt": 1}),
        (CARRIED_COPY, {"copy": 1}),
        (CARRIED_EMBEDDING, {"embedding": 1}),
        (CARRIED_MOST, {"background": 1, "prompt": 1, "copy": 1, "embedding": 1}),
    ],
)
def test_a_late_gap_coincides_with_what_its_own_step_carried(
    carried: int, causes: dict[str, int]
) -> None:
    machine = reading()
    machine.carried = carried

    late(machine)

    assert told(machine) == causes


def test_gaps_within_the_cap_are_not_counted_whatever_they_carried() -> None:
    machine = reading()
    machine.carried = CARRIED_BACKGROUND
    for _ in range(20):
        machine.wait(11)
        machine.tokens(1)

    assert told(machine) == {}
    assert machine.read()["apps"]["editor"]["gaps_over_cap"] == 0


def test_the_number_of_late_gaps_is_told_beside_their_share() -> None:
    machine = reading()
    for n in range(20):
        late(machine, 30.0 if n < 3 else 10.0)

    app = machine.read()["apps"]["editor"]

    assert (app["gaps_over_cap"], app["over_cap_pct"]) == (3, 15.0)
    assert app["slowed_by"]["nothing"] == 3


def test_an_apps_gaps_are_held_against_its_own_cap() -> None:
    machine = Machine(latency_cap=1.2)
    machine.accept(1, app="patient", cap=4.0)
    machine.wait(100)
    machine.tokens(1)
    machine.solo_ms = 10.0
    late(machine, 30.0)

    assert told(machine, "patient") == {}
    assert machine.read()["lanes"]["interactive"]["slowed_by"]["nothing"] == 1


@pytest.mark.parametrize(
    ("coreless_ms", "is_cause"),
    [
        (0.0, False),
        (9.9, False),  # the gap is 20 ms longer than alone: too little to explain it
        (10.0, True),
        (150.0, True),
    ],
)
def test_cores_that_other_programs_had_are_a_cause_where_they_explain_half_of_the_delay(
    coreless_ms: float, is_cause: bool
) -> None:
    machine = reading()
    late(machine)
    machine.wait(100)
    machine.step(began_ns=machine.now_ns - 200 * MS, coreless_ms=coreless_ms)

    assert told(machine) == ({"cores": 1} if is_cause else {"nothing": 1})


def test_cores_that_were_lost_before_or_after_the_gap_did_not_slow_it() -> None:
    machine = reading()
    machine.step(began_ns=machine.now_ns - 90 * MS, coreless_ms=80.0)
    late(machine)
    machine.wait(300)
    machine.step(began_ns=machine.now_ns - 200 * MS, coreless_ms=80.0)

    assert told(machine) == {"nothing": 1}


def test_a_gap_during_which_another_models_engine_worked_says_so() -> None:
    machine = reading()
    machine.step(began_ns=machine.now_ns - 50 * MS, device_ms=40.0)  # its own engine
    late(machine)
    machine.wait(50)
    machine.step(model="other", began_ns=machine.now_ns - 60 * MS, device_ms=40.0)

    assert told(machine) == {"other_model": 1}


def test_another_model_that_rests_is_no_cause() -> None:
    machine = reading()
    late(machine)
    machine.wait(50)
    machine.step(model="other", began_ns=machine.now_ns - 60 * MS, device_ms=0.0)

    assert told(machine) == {"nothing": 1}


def test_a_gap_in_which_the_engine_was_restarted_says_so_and_others_do_not() -> None:
    machine = reading()
    late(machine)
    machine.wait(1000)
    machine.card.engine_restarted("m", machine.now_ns)
    late(machine)
    late(machine)

    assert told(machine) == {"restart": 1, "nothing": 2}


def test_a_restart_whose_time_is_not_known_is_counted_and_blamed_for_nothing() -> None:
    machine = reading()
    machine.restart()
    late(machine)

    assert told(machine) == {"nothing": 1}
    assert machine.read()["restarts"] == 1


def test_the_wait_for_a_first_token_is_no_gap_and_has_no_cause() -> None:
    machine = Machine(latency_cap=1.2)
    machine.accept(1, app="editor")
    machine.solo_ms, machine.carried = 10.0, CARRIED_PROMPT
    machine.wait(5000)
    machine.tokens(1)

    assert told(machine) == {}


def test_background_work_has_no_cap_and_so_nobody_slows_it() -> None:
    machine = Machine(latency_cap=1.2)
    machine.accept(1, lane="background", app="index")
    machine.solo_ms = 10.0
    machine.wait(10)
    machine.tokens(1)
    late(machine, 900.0)

    assert told(machine, "index") == {}


def test_causes_of_one_app_are_not_those_of_another() -> None:
    machine = reading()
    machine.accept(2, app="chat")
    machine.wait(10)
    machine.tokens(2)
    machine.carried = CARRIED_COPY
    machine.wait(30)
    machine.tokens(2)
    machine.carried = 0
    machine.tokens(1)

    assert told(machine, "chat") == {"copy": 1}
    assert told(machine, "editor") == {"nothing": 1}


def test_the_longest_gap_of_each_second_is_told_the_oldest_first() -> None:
    machine = reading()  # its window is 10 s
    machine.wait(40)
    machine.tokens(1)
    machine.wait(2_500)
    machine.tokens(1)
    machine.wait(20)
    machine.tokens(1)

    card = machine.read()

    gaps = card["longest_gaps_ms"]
    assert len(gaps) == 10
    assert gaps[-1] == 2500.0
    assert gaps[-3] == 40.0
    assert sorted(gaps)[:8] == [0.0] * 8
    assert card["apps"]["editor"]["longest_gaps_ms"] == gaps
    machine.wait(3_000)
    assert machine.read()["longest_gaps_ms"][-4] == 2500.0, "the second moved to the left"


def test_without_any_token_there_are_zeros_and_no_causes() -> None:
    machine = Machine()

    card = machine.read()

    assert card["longest_gaps_ms"] == [0.0] * 10
    assert card["gaps_over_cap"] == 0
    assert set(card["slowed_by"].values()) == {0}
