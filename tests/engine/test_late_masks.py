"""An answer whose mask is late waits alone; its peers go on, and it goes on where it stood."""

from typing import Any

import pytest

from tests.engine.served_loop import FakeRunner, Served, arrival
from umad.engine.steps import token_drawing as drawing
from umad.errors import BadRequest, UmadError
from umad.protocol.link import CancelOrder, Pause, Resume


class LateMask:
    """Made only when it has been looked at so often."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._left = looks
        self.given_up = False

    def is_ready(self, patience_s: float) -> bool:
        return self.is_made

    @property
    def is_made(self) -> bool:
        self._left -= 1
        return self._left < 0

    def allowed(self) -> None:
        assert self._left < 0, "a step waited for a mask"

    def accept(self, token: int) -> None:
        self._left = self._looks

    def forced(self) -> tuple[int, ...]:
        return ()

    def give_up(self) -> UmadError:
        self.given_up = True
        return BadRequest("too complex", field="grammar")


def constrained(rid: int, mask: LateMask, **more: Any) -> Any:
    one = arrival(rid, **more)
    one.stream.mask = mask
    return one


def test_peers_of_an_answer_whose_masks_are_late_do_not_wait_for_it() -> None:
    runner = FakeRunner()

    served = Served(runner, constrained(1, LateMask(8)), arrival(2, max_tokens=20))

    assert served.ids(1) == Served(FakeRunner(), arrival(1)).ids(1)
    assert served.ids(2) == Served(FakeRunner(), arrival(2, max_tokens=20)).ids(2)
    alone = [plan for plan in runner.plans if [row.rid for row in plan.decode] == [2]]
    assert len(alone) > 10


def test_an_answer_goes_on_where_nothing_else_is_to_be_done() -> None:
    served = Served(FakeRunner(), constrained(1, LateMask(3)))

    assert served.ids(1) == Served(FakeRunner(), arrival(1)).ids(1)
    assert [one.reason for one in served.ended(1)] == ["length"]


def test_a_mask_that_never_comes_ends_its_answer_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drawing, "_MASK_NS", 50_000)
    mask = LateMask(10**9)

    served = Served(FakeRunner(), constrained(1, mask), arrival(2, max_tokens=20))

    assert mask.given_up
    assert [one.field for one in served.rejected(1)] == ["grammar"]
    assert [one.reason for one in served.ended(2)] == ["length"]


def test_an_answer_can_be_paused_resumed_and_cancelled_while_its_mask_is_late() -> None:
    served = Served(
        FakeRunner(),
        constrained(1, LateMask(4)),
        constrained(2, LateMask(4)),
        Pause(rid=1),
        Resume(rid=1),
        CancelOrder(rid=2),
    )

    assert served.ids(1) == Served(FakeRunner(), arrival(1)).ids(1)
    assert [one.reason for one in served.ended(2)] == ["cancelled"]
