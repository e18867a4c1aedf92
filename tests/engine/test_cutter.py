import threading

from umad.engine.steps.cutter import Cutter


class Switch:
    """Stands in for llama.cpp's abort flag."""

    def __init__(self) -> None:
        self.on = False

    def abort(self) -> None:
        self.on = True

    def clear(self) -> None:
        self.on = False


def test_an_armed_decode_is_aborted() -> None:
    switch = Switch()
    cutter = Cutter(abort=switch.abort, clear=switch.clear)
    cutter.arm()

    assert cutter.cut()
    assert switch.on


def test_a_decode_that_was_not_armed_is_never_aborted() -> None:
    switch = Switch()
    cutter = Cutter(abort=switch.abort, clear=switch.clear)

    assert not cutter.cut()
    assert not switch.on


def test_a_cut_that_comes_too_late_does_not_hit_the_next_decode() -> None:
    switch = Switch()
    cutter = Cutter(abort=switch.abort, clear=switch.clear)
    cutter.arm()
    cutter.cut()
    cutter.disarm()

    late = cutter.cut()

    assert not late
    assert not switch.on


def test_however_cuts_and_decodes_interleave_an_unarmed_decode_runs_undisturbed() -> None:
    switch = Switch()
    cutter = Cutter(abort=switch.abort, clear=switch.clear)
    done = threading.Event()

    def keep_cutting() -> None:
        while not done.is_set():
            cutter.cut()

    thread = threading.Thread(target=keep_cutting)
    thread.start()
    seen = []
    for _ in range(500):
        cutter.arm()
        cutter.disarm()
        seen.append(switch.on)  # here an unarmed decode would run
    done.set()
    thread.join()

    assert not any(seen)


def test_it_tells_how_long_a_cut_has_taken_and_that_none_was_asked_for() -> None:
    switch, now = Switch(), [1_000]
    cutter = Cutter(abort=switch.abort, clear=switch.clear, now_ns=lambda: now[0])

    cutter.arm()
    now[0] += 50
    uncut_ns = cutter.disarm()
    cutter.arm()
    cutter.cut()
    now[0] += 30
    cutter.cut()  # another arrival: the first one has waited longest
    now[0] += 7
    cut_ns = cutter.disarm()

    assert uncut_ns == 0
    assert cut_ns == 37
