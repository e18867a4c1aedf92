"""What becomes of a deployment, by what SkyPilot and the machine say."""

from typing import Any

import pytest

from umad.errors import FetchFailed
from umad.scale.launch.record import Record
from umad.scale.launch.tending import Do, Seen, seen_of, verdict

RECORD = Record(
    name="q", kind="task", engine="vllm", model="m", accelerators="L4:1", began_at_s=0.0,
    ends_at_s=1000.0, uses_spot=True, router_folder="/r",
)  # fmt: skip
UP = Seen(state="UP", address="10.0.0.1:8443", job="RUNNING")


def does(
    seen: Seen | None, before: Seen | None = UP, *, healthy: bool, member: bool,
    now_s: float = 10.0, record: Record = RECORD,
) -> Do:  # fmt: skip
    return verdict(record, seen, before, is_healthy=healthy, is_member=member, now_s=now_s)


def test_it_joins_when_it_is_healthy_and_once() -> None:
    assert does(UP, healthy=False, member=False) is Do.NOTHING
    assert does(UP, healthy=True, member=False) is Do.JOIN
    assert does(UP, healthy=True, member=True) is Do.NOTHING


def test_it_leaves_when_it_is_idle_or_does_not_answer() -> None:
    ended = Seen(state="UP", address="10.0.0.1:8443", job="SUCCEEDED")

    assert does(ended, healthy=True, member=True) is Do.LEAVE
    assert does(UP, healthy=False, member=True) is Do.LEAVE
    assert does(None, healthy=False, member=True) is Do.LEAVE


def test_a_machine_that_was_taken_away_is_rented_anew() -> None:
    assert does(None, UP, healthy=False, member=False) is Do.RENT


@pytest.mark.parametrize(
    ("before", "now_s"),
    [
        (None, 10.0),
        (Seen(state="UP", job="SUCCEEDED"), 10.0),
        (Seen(state="INIT"), 10.0),
        (UP, 1000.0),
    ],
)
def test_nothing_is_rented_where_it_may_have_ended_itself(
    before: Seen | None, now_s: float
) -> None:
    assert does(None, before, healthy=False, member=False, now_s=now_s) is Do.NOTHING


def test_a_machine_on_demand_is_not_rented_twice() -> None:
    record = Record(
        name="q", kind="task", engine="vllm", model="m", accelerators="L4:1", began_at_s=0.0
    )

    assert does(None, healthy=False, member=False, record=record) is Do.NOTHING


def test_a_spent_budget_takes_it_out_of_the_team_and_ends_it() -> None:
    assert does(UP, healthy=True, member=True, now_s=1000.0) is Do.LEAVE
    assert does(UP, healthy=True, member=False, now_s=1000.0) is Do.END


def test_an_answer_of_another_shape_is_said() -> None:
    row = {"state": "UP", "address": "", "price_per_hour": 2, "job": ""}
    assert seen_of({"found": {"q": row}})["q"].price_per_hour == 2.0
    wrong: list[dict[str, Any]] = [{}, {"found": []}, {"found": {"q": {}}}]
    for answer in wrong:
        with pytest.raises(FetchFailed):
            seen_of(answer)
