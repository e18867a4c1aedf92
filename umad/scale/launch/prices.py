"""What SkyPilot's optimiser offers, as values. Pure."""

from dataclasses import dataclass
from typing import Any

from umad.errors import FetchFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One machine that would do."""

    infra: str
    instance: str
    is_spot: bool
    price_per_hour: float


def offers_of(answer: dict[str, Any]) -> tuple[Offer, ...]:
    """The offers of an answer, the cheapest first. Raises `FetchFailed` for one that has none."""
    try:
        found = tuple(
            Offer(
                infra=str(one["infra"]),
                instance=str(one["instance"]),
                is_spot=bool(one["is_spot"]),
                price_per_hour=float(one["price_per_hour"]),
            )
            for one in answer["offers"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FetchFailed(f"SkyPilot's answer has no prices: {error}") from None
    if not found:
        raise FetchFailed("SkyPilot offers no machine for this")
    return tuple(sorted(found, key=lambda one: one.price_per_hour))


def dearest(offers: tuple[Offer, ...]) -> float:
    """What a budget is reckoned with: a spot machine may be followed by one at the full price."""
    return max(one.price_per_hour for one in offers)
