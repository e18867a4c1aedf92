"""Says what is to be done with a deployment, from how it is. Pure: no clock, no network.

    verdict(record, seen, is_healthy, is_member, now_s) -> what to do
    SkyPilot says whether the machine is there, and the machine whether it is healthy.

A machine that may be taken away is rented anew where it is gone before its time and somebody used
it until then. One that ended itself, idle or out of budget, is not: its job succeeded, or its
moment has come. Where that cannot be told it stays gone, because renting by mistake costs money.
"""

import enum
from dataclasses import dataclass
from typing import Any

from umad.errors import FetchFailed
from umad.scale.launch.record import Record

UP = "UP"
# SkyPilot's words for a job that ended well, and for one that runs.
_JOB_ENDED, _JOB_RUNS = "SUCCEEDED", "RUNNING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What SkyPilot knows of a machine or a service."""

    # SkyPilot's own word: INIT, UP, STOPPED, READY, …
    state: str
    # HOST:PORT; "" while nobody knows.
    address: str = ""
    price_per_hour: float | None = None
    # The state of its job; "" while there is none.
    job: str = ""


class Do(enum.Enum):
    """What is to be done."""

    NOTHING = "nothing"
    # Take it into the team: it answers.
    JOIN = "join"
    # Take it out of the team: it does not answer, or is about to go.
    LEAVE = "leave"
    # Give the machine back: its budget is spent.
    END = "end"
    # Rent anew: it was taken away.
    RENT = "rent"


def verdict(
    record: Record,
    seen: Seen | None,
    before: Seen | None,
    *,
    is_healthy: bool,
    is_member: bool,
    now_s: float,
) -> Do:
    """What to do now.

    seen is None where SkyPilot knows it not, and before is what it knew last. A machine whose job
    ended is there for a minute more, so whoever looks more often than that sees how it ended.
    """
    is_over = bool(record.ends_at_s) and now_s >= record.ends_at_s
    if seen is None:
        if is_member:
            return Do.LEAVE
        was_used = before is not None and before.job == _JOB_RUNS
        return Do.RENT if record.uses_spot and was_used and not is_over else Do.NOTHING
    if is_over:
        # The machine knows its moment itself, and is given back without us; a service is not.
        return Do.LEAVE if is_member else Do.END
    if is_healthy and seen.job != _JOB_ENDED:
        return Do.NOTHING if is_member or not record.router_folder else Do.JOIN
    return Do.LEAVE if is_member else Do.NOTHING


def seen_of(answer: dict[str, Any]) -> dict[str, Seen]:
    """What the driver's answer says of each. Raises `FetchFailed` for another shape."""
    try:
        return {
            str(name): Seen(
                state=str(one["state"]),
                address=str(one["address"]),
                price_per_hour=None
                if one["price_per_hour"] is None
                else float(one["price_per_hour"]),
                job=str(one["job"]),
            )
            for name, one in answer["found"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FetchFailed(f"SkyPilot's answer has no states: {error}") from None
