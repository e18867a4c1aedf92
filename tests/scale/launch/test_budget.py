"""When a deployment ends, and what its tokens cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.errors import BadRequest
from umad.scale.launch.budget import LEAST_S, Budget, per_thousand, spent
from umad.scale.launch.prices import dearest, offers_of


def test_the_nearer_bound_ends_it() -> None:
    assert Budget(hours=4, money=10).seconds(2.0) == 4 * 3600
    assert Budget(hours=24, money=10).seconds(2.0) == 5 * 3600
    assert Budget(hours=4).seconds(2.0) == 4 * 3600
    assert Budget().seconds(2.0) == 0


@given(money=st.floats(1, 1e6), hours=st.floats(0.2, 1000), price=st.floats(0.01, 1000))
def test_it_never_costs_more_than_it_may(money: float, hours: float, price: float) -> None:
    budget = Budget(money=money, hours=hours)
    if min(hours, money / price) * 3600 < LEAST_S + 1:
        return

    seconds = budget.seconds(price)

    assert spent(price, seconds) <= money * (1 + 1e-9)
    assert seconds <= hours * 3600


def test_money_that_is_gone_before_a_model_is_loaded_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"lasts 120 seconds at 30\.00 an hour"):
        Budget(money=1).seconds(30.0)


def test_money_cannot_be_bounded_where_no_price_is_known() -> None:
    with pytest.raises(BadRequest, match="give --hours"):
        Budget(money=1).seconds(0.0)

    assert Budget(hours=1).seconds(0.0) == 3600


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_a_budget_is_a_number_that_is_not_below_0(value: float) -> None:
    with pytest.raises(BadRequest):
        Budget(hours=value)
    with pytest.raises(BadRequest):
        Budget(money=value)


def test_tokens_cost_price_times_time_by_tokens() -> None:
    # 3 dollars an hour, 2 hours, 4 million tokens.
    assert per_thousand(3.0, 7200, 4_000_000) == pytest.approx(0.0015)
    assert per_thousand(3.0, 7200, 0) is None
    assert spent(3.0, -5) == 0


def test_a_budget_is_reckoned_with_the_dearest_offer() -> None:
    rows = [
        {"infra": "aws/a", "instance": "x", "is_spot": False, "price_per_hour": 3.4},
        {"infra": "aws/a", "instance": "x", "is_spot": True, "price_per_hour": 1.1},
    ]

    offers = offers_of({"offers": rows})

    assert [one.price_per_hour for one in offers] == [1.1, 3.4]
    assert dearest(offers) == 3.4
