"""Walks the state tables of umad: one table for each kind of thing that has a life.

A table is data: (state, event) to the next state. A pair that is not in the table is a bug. It
raises an error here instead of doing something by accident. Pure.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

from umad.errors import InternalError

State = TypeVar("State", bound=Enum)
Event = TypeVar("Event", bound=Enum)


class ImpossibleTransition(InternalError):
    """An event came in a state that has no row for it."""


class StateTable(Generic[State, Event]):
    """The rows of one table.

    what: the kind of thing whose life it is, for the error text.
    """

    __slots__ = ("_rows", "_what")

    def __init__(self, what: str, rows: Mapping[tuple[State, Event], State]) -> None:
        self._what = what
        self._rows = rows

    def after(self, state: State, event: Event) -> State:
        """The state after `event`. Raises `ImpossibleTransition` where there is no row."""
        try:
            return self._rows[state, event]
        except KeyError:
            raise ImpossibleTransition(
                f"{self._what}: {event.value} in state {state.value}"
            ) from None

    def rows(self) -> Mapping[tuple[State, Event], State]:
        """Every row, for tests and diagrams."""
        return self._rows
