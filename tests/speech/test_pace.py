"""When a transcriber is stopped: a real thread and a real board, a transcriber that takes notes."""

import threading
from collections.abc import Iterator
from typing import cast

import pytest

from umad.clock import MonotonicClock
from umad.engine.board.page import BOARD_BYTES, lay_out, take_seat, words_of
from umad.engine.board.seat import BoardSeat
from umad.speech.pace import Pace
from umad.speech.spells import ONE_IN
from umad.speech.transcriber import Transcriber

BOUND_S = 30.0


class Noted:
    """Stands where the process does; only signals are missing."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.runs = True
        self.n_spells = 0

    def pause(self) -> None:
        with self.changed:
            self.runs = False
            self.changed.notify_all()

    def go_on(self) -> None:
        with self.changed:
            self.n_spells += not self.runs
            self.runs = True
            self.changed.notify_all()

    def wait(self, *, runs: bool, n_spells: int = 0) -> None:
        with self.changed:
            assert self.changed.wait_for(
                lambda: self.runs == runs and self.n_spells >= n_spells, BOUND_S
            )


class Stage:
    """A pace on the first seat of a board, and a chat on the second."""

    def __init__(self) -> None:
        words = words_of(bytearray(BOARD_BYTES))
        lay_out(words)
        for seat in (0, 1):
            take_seat(words, seat)
        self.clock = MonotonicClock()
        self.noted = Noted()
        self.own = BoardSeat(words, 0)
        self.chat = BoardSeat(words, 1)
        self.pace = Pace(cast(Transcriber, self.noted), self.own, self.clock, alive=lambda: None)
        self.pace.start()

    def chat_begins(self) -> None:
        self.chat.arrived(self.clock.now_ns())
        self.chat.standing(1, self.clock.now_ns())

    def chat_steps(self, count: int) -> None:
        for _ in range(count):
            self.chat.stepped(1000, self.clock.now_ns(), background=False)

    def chat_ends(self) -> None:
        self.chat.standing(0, self.clock.now_ns())


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.pace.ended()


def test_it_is_stopped_when_a_chat_begins_and_goes_on_when_that_has_ended(stage: Stage) -> None:
    stage.pace.began(hurried=False)

    stage.chat_begins()
    stage.noted.wait(runs=False)
    stage.chat_ends()

    stage.noted.wait(runs=True)


def test_a_chat_that_steps_leaves_it_a_spell_now_and_then(stage: Stage) -> None:
    stage.pace.began(hurried=False)
    stage.chat_begins()
    stage.noted.wait(runs=False)

    # A spell begins between two looks, and ends by itself while the chat goes on.
    ended = threading.Event()

    def chat() -> None:
        while not ended.wait(0.001):
            stage.chat_steps(1)

    stepping = threading.Thread(target=chat)
    stepping.start()
    try:
        stage.noted.wait(runs=False, n_spells=2)
    finally:
        ended.set()
        stepping.join()


def test_it_is_stopped_as_long_as_the_chat_has_not_got_on(stage: Stage) -> None:
    stage.pace.began(hurried=False)
    stage.chat_begins()
    stage.noted.wait(runs=False)
    stage.chat_steps(ONE_IN - 1)

    # By the end of the window many looks have gone by.
    stage.pace.ended()
    stage.noted.wait(runs=True)

    assert stage.noted.n_spells == 1


def test_a_dictation_is_never_stopped_and_is_shown_to_the_others(stage: Stage) -> None:
    stage.chat_begins()

    stage.pace.began(hurried=True)

    assert stage.chat.others(stage.clock.now_ns()).interactive
    stage.pace.ended()
    assert not stage.chat.others(stage.clock.now_ns()).interactive
    assert stage.pace.n_pauses == 0
