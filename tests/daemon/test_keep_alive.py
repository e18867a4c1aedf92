"""How long a model stays after its last use."""

import math

import pytest

from umad.daemon.keep_alive import KeepAlive, keep_alive_of
from umad.errors import BadRequest

RULES = (("nano", math.inf), ("qwen*", 600.0), ("*", 1800.0))


@pytest.mark.parametrize(
    ("model", "stays", "seconds", "is_pinned"),
    [
        ("nano", False, math.inf, True),
        ("qwen3-4b", False, 600.0, False),
        ("llama", False, 1800.0, False),
        # Loaded by name: the rule for all does not send it away, one that names it does.
        ("llama", True, math.inf, False),
        ("qwen3-4b", True, 600.0, False),
        ("nano", True, math.inf, True),
    ],
)
def test_the_first_rule_that_fits_decides(
    model: str, stays: bool, seconds: float, is_pinned: bool
) -> None:
    assert keep_alive_of(model, RULES, stays=stays) == KeepAlive(
        seconds=seconds, is_pinned=is_pinned
    )


def test_a_rule_that_pins_all_models_pins_those_loaded_by_name_too() -> None:
    assert keep_alive_of("a", (("*", math.inf),), stays=True).is_pinned


def test_without_a_rule_a_model_stays_and_is_not_pinned() -> None:
    assert keep_alive_of("a", ()) == KeepAlive(seconds=math.inf, is_pinned=False)


def test_a_model_is_there_for_a_second_after_its_use_even_where_it_may_not_stay() -> None:
    assert KeepAlive(seconds=0).ends_ns(5) == 5 + 10**9
    assert KeepAlive(seconds=2.5).ends_ns(5) == 5 + 2_500_000_000
    assert KeepAlive().ends_ns(5) is None


def test_a_request_that_says_for_ever_pins() -> None:
    assert KeepAlive.asked(-1) == KeepAlive(seconds=math.inf, is_pinned=True)
    assert KeepAlive.asked(60) == KeepAlive(seconds=60)


@pytest.mark.parametrize("seconds", [1e300, math.inf])
def test_no_time_is_too_long_to_compute_with(seconds: float) -> None:
    assert KeepAlive.asked(seconds).ends_ns(5) is not None


def test_what_is_no_number_is_refused_by_its_name() -> None:
    with pytest.raises(BadRequest) as refused:
        KeepAlive.asked(math.nan)

    assert refused.value.field == "keep_alive_s"
