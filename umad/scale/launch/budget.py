"""Turns hours and money into the moment at which a deployment ends, and a bill into a cost. Pure.

The moment is computed once, when the machine is rented, and travels with it: the machine ends
itself, so the bound holds while nobody watches. It is reckoned with the dearest price that was
offered, since a spot machine may be followed by one at the full price.
"""

import math
from dataclasses import dataclass

from umad.errors import BadRequest

_HOUR_S = 3600
MOST_HOURS = 24 * 366


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What somebody wants to spend at most. 0 is no bound."""

    hours: float = 0.0
    # In the currency of SkyPilot's catalogue, which is US dollars.
    money: float = 0.0

    def __post_init__(self) -> None:
        for value, name, most in (
            (self.hours, "hours", float(MOST_HOURS)),
            (self.money, "money", 1e9),
        ):
            if not math.isfinite(value) or not 0 <= value <= most:
                raise BadRequest(f"{name} is {value:g}, and is 0 to {most:g}", field=name)

    def seconds(self, price_per_hour: float) -> int:
        """How long it lasts at a price; 0 where nothing bounds it.

        Raises `BadRequest` where money is bounded and no price is known, and where the money is
        gone before a model is loaded.
        """
        bounds = [self.hours] if self.hours else []
        if self.money:
            if price_per_hour <= 0:
                raise BadRequest(
                    "no price is known there, so money cannot be bounded: give --hours",
                    field="money",
                )
            bounds.append(self.money / price_per_hour)
        if not bounds:
            return 0
        seconds = int(min(bounds) * _HOUR_S)
        if seconds < LEAST_S:
            raise BadRequest(
                f"this budget lasts {seconds} seconds at {price_per_hour:.2f} an hour, and a "
                f"machine needs {LEAST_S // 60} minutes to begin",
                field="money" if self.money else "hours",
            )
        return seconds


# Renting, installing and loading take minutes; less than this buys no answer.
LEAST_S = 600


def spent(price_per_hour: float, seconds: float) -> float:
    """What a time costs. A clock that went back costs nothing."""
    return price_per_hour * max(0.0, seconds) / _HOUR_S


def per_thousand(price_per_hour: float, seconds: float, tokens: int) -> float | None:
    """Price times time by tokens, for 1,000 tokens; None while there are none."""
    if tokens <= 0:
        return None
    return spent(price_per_hour, seconds) / tokens * 1000
