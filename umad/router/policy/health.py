"""Lists the states of a node, and which event leads where. Pure.

    JOINING ──reported──▶ UP ──fell silent──▶ SILENT ──reported──▶ UP
       any of them ──failed──▶ DOWN ──reported, after its hold──▶ UP
       any of them ──left──▶ GONE

Draining is no state of its own. It is a wish of the operator that holds in every state, so a node
that fails while it drains still drains when it is back.
"""

import enum

from umad.state_table import StateTable


class Health(enum.Enum):
    """The states. `takes_new` and `keeps_known` say what they mean for sessions."""

    # It is a member, and has not said anything yet.
    JOINING = "joining"
    UP = "up"
    # It has said nothing for a while, and nobody has seen it fail.
    SILENT = "silent"
    # A connection to it failed, or its health check did.
    DOWN = "down"
    GONE = "gone"

    @property
    def takes_new(self) -> bool:
        """Whether new sessions may be placed there."""
        return self is Health.UP

    @property
    def keeps_known(self) -> bool:
        """Whether sessions that are there stay."""
        return self is Health.UP or self is Health.SILENT


class Happening(enum.Enum):
    """The events."""

    REPORTED = "reported"
    FELL_SILENT = "fell silent"
    FAILED = "failed"
    LEFT = "left"


NEXT = StateTable(
    "node",
    {
        (Health.JOINING, Happening.REPORTED): Health.UP,
        (Health.JOINING, Happening.FAILED): Health.DOWN,
        (Health.JOINING, Happening.LEFT): Health.GONE,
        (Health.UP, Happening.REPORTED): Health.UP,
        (Health.UP, Happening.FELL_SILENT): Health.SILENT,
        (Health.UP, Happening.FAILED): Health.DOWN,
        (Health.UP, Happening.LEFT): Health.GONE,
        (Health.SILENT, Happening.REPORTED): Health.UP,
        (Health.SILENT, Happening.FAILED): Health.DOWN,
        (Health.SILENT, Happening.LEFT): Health.GONE,
        (Health.DOWN, Happening.REPORTED): Health.UP,
        (Health.DOWN, Happening.FAILED): Health.DOWN,
        (Health.DOWN, Happening.LEFT): Health.GONE,
    },
)
