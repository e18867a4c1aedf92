"""What `umad demo` says of the guard at its end."""

import pytest

from umad.cli.demo_view import verdict

HELD = {"over_cap_pct": 1.2, "latency_cap": 1.2, "guard_held": True, "cores_lost_pct": 40.0}


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (HELD, "The guard held: 1.20 % of the waits were longer than 1.2 of what they are alone"),
        (HELD | {"guard_held": False}, "For 40.0 % of the time others had the cores"),
        (HELD | {"guard_held": False, "cores_lost_pct": 1.0}, "or a few of them much longer"),
        (HELD | {"guard_held": None, "over_cap_pct": None}, "nothing is known"),
    ],
)
def test_the_verdict_names_a_busy_machine_only_where_it_is_one(
    card: dict[str, float | bool | None], words: str
) -> None:
    assert words in verdict(card)
