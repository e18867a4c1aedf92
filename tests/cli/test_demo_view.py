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


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        pytest.param(
            HELD,
            "The guard held: 1.20 % of the waits were longer than 1.2 of what they are alone, and "
            "5 may be.",
            id="it held beside other work",
        ),
        pytest.param(
            HELD | {"guard_held": False, "over_cap_pct": 12.0},
            "For 40.0 % of the time others had the cores, and 88.0 % of the waits were still "
            "within 1.2 of what they are alone.",
            id="a busy machine",
        ),
        pytest.param(
            HELD | {"guard_held": False, "over_cap_pct": 12.0, "cores_lost_pct": None},
            "88.0 % of the waits were within 1.2 of what they are alone; the rest were longer, or "
            "a few of them much longer.",
            id="a platform that does not count lost cores",
        ),
    ],
)
def test_the_last_line_is_one_calm_sentence_with_what_held(
    card: dict[str, float | bool | None], sentence: str
) -> None:
    assert verdict(card) == sentence
