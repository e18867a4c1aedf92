"""When the transcriber may run beside other engines' steps: engines simulated in full."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.speech.spells import LATE_S, LEAST_S, MOST_S, ONE_IN, SOON_S, Spells
from umad.units import NS_PER_S

SEAT = 3


class Chat:
    """An engine with steps of `step_s`; a part of one beside a spell takes twice its time."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self.count = 0
        self.touched: set[int] = set()
        self.longest_s = 0.0
        self._left_s = step_s
        self._took_s = 0.0

    def run(self, seconds: float, *, beside: bool) -> None:
        while seconds > 0:
            if beside:
                self.touched.add(self.count)
            took_s = min(seconds, self._left_s * (2 if beside else 1))
            seconds -= took_s
            self._took_s += took_s
            self._left_s -= took_s / (2 if beside else 1)
            if self._left_s <= 1e-12:
                self.longest_s = max(self.longest_s, self._took_s)
                self.count, self._left_s, self._took_s = self.count + 1, self.step_s, 0.0


def spells_of(chat: Chat, seconds: float, *, late_s: float = 0.0) -> Iterator[float]:
    """The spells of a transcriber beside a chat. late_s: how late its pace's thread wakes."""
    spells, now_s = Spells(), 0.0
    while now_s < seconds:
        now_ns = int(now_s * NS_PER_S)
        spells.look({SEAT: chat.count}, now_ns)
        if spells.may_begin:
            lasts_s = spells.begin() + late_s
            chat.run(lasts_s, beside=True)
            now_s += lasts_s
            spells.end({SEAT: chat.count}, int(now_s * NS_PER_S))
            yield lasts_s
        else:
            wait_s = spells.wait_s + late_s
            assert SOON_S <= spells.wait_s <= LATE_S
            chat.run(wait_s, beside=False)
            now_s += wait_s


@given(step_s=st.floats(0.002, 0.5), late_s=st.sampled_from((0.0, 0.001, 0.003)))
def test_one_of_forty_steps_runs_beside_it_however_long_a_step_is(
    step_s: float, late_s: float
) -> None:
    chat = Chat(step_s)

    lasted = list(spells_of(chat, 400 * step_s + 1, late_s=late_s))

    assert lasted
    # The last spell may have touched steps whose rest has not come yet.
    most = chat.count / ONE_IN + 3 + late_s / step_s
    assert len(chat.touched) <= most


@given(step_s=st.floats(LEAST_S, 0.5))
def test_a_step_beside_it_takes_less_than_twice_its_time(step_s: float) -> None:
    chat = Chat(step_s)

    lasted = list(spells_of(chat, 300 * step_s + 1))

    assert lasted
    # How long a step is was measured, and that is not exact.
    assert chat.longest_s <= 2.05 * step_s
    assert max(lasted) <= MOST_S


def test_it_gets_at_least_a_hundredth_of_the_time_beside_short_steps() -> None:
    assert sum(spells_of(Chat(0.004), 60.0)) > 0.6


def test_nobody_is_waited_for_who_has_gone() -> None:
    spells = Spells()
    spells.look({SEAT: 10}, 0)
    assert not spells.may_begin

    spells.look({}, NS_PER_S)

    assert spells.may_begin


def test_somebody_new_is_left_alone_for_forty_steps() -> None:
    spells = Spells()
    spells.look({SEAT: 10}, 0)

    spells.look({SEAT: 10 + ONE_IN - 1}, NS_PER_S)
    assert not spells.may_begin

    spells.look({SEAT: 10 + ONE_IN}, 2 * NS_PER_S)
    assert spells.may_begin


def test_the_slower_of_two_is_waited_for_and_the_faster_says_how_long_it_lasts() -> None:
    spells = Spells()
    spells.look({1: 0, 2: 0}, 0)
    spells.look({1: 100, 2: 20}, NS_PER_S)
    assert not spells.may_begin

    spells.look({1: 200, 2: 40}, 2 * NS_PER_S)

    assert spells.may_begin
    assert spells.begin() == pytest.approx(0.010)


def test_an_engine_that_started_anew_on_a_seat_is_new() -> None:
    spells = Spells()
    spells.look({SEAT: 0}, 0)
    spells.look({SEAT: 100}, NS_PER_S)
    assert spells.may_begin

    spells.look({SEAT: 2}, 2 * NS_PER_S)

    assert not spells.may_begin
