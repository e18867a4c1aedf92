"""The thread that cuts for the sake of another engine."""

import threading

from umad.engine.board.page import BOARD_BYTES, take_seat, words_of
from umad.engine.board.seat import BoardSeat
from umad.engine.board.watch import BoardWatch
from umad.engine.steps.cutter import Cutter

NOW = 10**12
WAIT_S = 60.0


def test_an_arrival_next_door_cuts_a_background_step_and_only_that() -> None:
    words = words_of(bytearray(BOARD_BYTES))
    take_seat(words, 0)
    take_seat(words, 1)
    ours, theirs = BoardSeat(words, 0), BoardSeat(words, 1)
    aborted = threading.Event()
    cutter = Cutter(abort=aborted.set, clear=aborted.clear)
    watch = BoardWatch(ours, cutter)
    watch.start()
    ours.others(NOW)
    cutter.arm()
    watch.began()

    theirs.arrived(NOW + 1)
    was_cut = aborted.wait(WAIT_S)
    watch.ended()
    cutter.disarm()
    # The next look knows of the arrival: a step begun in spite of it is not cut.
    ours.others(NOW + 2)
    cutter.arm()
    watch.began()
    was_cut_again = aborted.wait(0.05)
    watch.ended()
    cutter.disarm()

    assert was_cut
    assert not was_cut_again


def test_without_another_engine_the_thread_is_left_asleep() -> None:
    alone = BoardSeat.alone()
    aborted = threading.Event()
    cutter = Cutter(abort=aborted.set, clear=aborted.clear)
    watch = BoardWatch(alone, cutter)
    watch.start()
    cutter.arm()
    watch.began()

    alone.arrived(NOW)

    assert not aborted.wait(0.05)
    watch.ended()
