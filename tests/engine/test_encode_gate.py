"""The gate of an encoder whose nodes take as long as a test wants, on a thread of its own."""

import threading
from collections.abc import Iterator

import pytest

from umad.engine.media.gate import EncodeGate

BOUND_S = 60
LONG_NS = 60 * 10**9
LATE_NS = 10**8


class Encoder:
    """A graph of nodes, each of which is over when `ends` says so."""

    def __init__(self, gate: EncodeGate) -> None:
        self.ends = threading.Semaphore(0)
        self.computed = 0
        self._gate = gate
        gate.most_stride = 1
        gate.prepare()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self._gate.begin()
        for _ in range(100):
            shown = self._gate.wants()
            assert self.ends.acquire(timeout=BOUND_S)
            self.computed += 1
            if shown and not self._gate.passes():
                break
        self._gate.end()


@pytest.fixture
def gate() -> EncodeGate:
    return EncodeGate()


@pytest.fixture
def encoder(gate: EncodeGate) -> Iterator[Encoder]:
    made = Encoder(gate)
    yield made
    made.ends.release(200)
    gate.stop()
    made.thread.join(BOUND_S)
    assert not made.thread.is_alive()


def test_a_turn_does_not_wait_for_the_end_of_a_long_node(
    gate: EncodeGate, encoder: Encoder
) -> None:
    is_done = gate.open_for(1, LATE_NS)

    assert not is_done
    assert encoder.computed == 0, "its node is not over"
    assert gate.computes


def test_an_encoder_that_was_late_is_held_when_its_node_is_over(
    gate: EncodeGate, encoder: Encoder
) -> None:
    gate.open_for(1, LATE_NS)
    encoder.ends.release(2)

    # This turn waits for it to be held, and then lets it compute one node more.
    assert not gate.open_for(LONG_NS // 60, LATE_NS)
    assert encoder.computed == 2
    assert gate.n_holds == 1


def test_a_late_encoder_ends_with_its_node_and_nobody_waits_longer_than_was_said(
    gate: EncodeGate, encoder: Encoder
) -> None:
    gate.open_for(1, LATE_NS)

    assert not gate.stop(1)
    encoder.ends.release()

    assert gate.stop(LONG_NS)
    assert encoder.computed == 1


def test_a_held_encoder_ends_without_another_node(gate: EncodeGate, encoder: Encoder) -> None:
    encoder.ends.release()
    gate.open_for(1, LATE_NS)

    assert not gate.computes
    assert gate.stop(LONG_NS)
    assert encoder.computed == 1


def test_a_node_that_is_a_little_late_is_waited_for(gate: EncodeGate, encoder: Encoder) -> None:
    ends = threading.Timer(0.05, encoder.ends.release)
    ends.start()

    assert not gate.open_for(1, LONG_NS)

    assert encoder.computed == 1
    assert not gate.computes, "it is held, so the step has the device"
