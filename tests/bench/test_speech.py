"""The benchmark of speech: conditions take turns, and what breaks the promise is told."""

import pytest
from typing_extensions import override

from bench.latency import Felt
from bench.speech import ALONE, BESIDE, PLAIN, Measured, comparison, measure


def felt(p95_ms: float = 10.0, longest_ms: float = 20.0) -> Felt:
    return Felt(
        p50_ms=8.0,
        p95_ms=p95_ms,
        p99_ms=15.0,
        longest_ms=longest_ms,
        first_token_p50_ms=30.0,
        first_token_p95_ms=40.0,
        tokens_per_s=100.0,
    )


class Noted:
    """A listener that notes when it was heard."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self._notes = notes

    def start(self) -> None:
        self._notes.append(f"{self._name} starts")

    def stop(self) -> None:
        self._notes.append(f"{self._name} stops")

    def cpu_s(self) -> float:
        return float(len(self._notes))


def test_conditions_take_turns_and_each_window_is_beside_its_own_listener() -> None:
    notes: list[str] = []

    def window() -> Felt:
        notes.append("window")
        return felt()

    measured = measure(
        window,
        {name: Noted(name, notes) for name in (ALONE, BESIDE, PLAIN)},
        repetitions=2,
        progress=lambda _: None,
    )

    turns = [
        line for name in (ALONE, BESIDE, PLAIN, BESIDE, PLAIN, ALONE)
        for line in (f"{name} starts", "window", f"{name} stops")
    ]  # fmt: skip
    assert notes == turns
    assert {name: len(some) for name, some in measured.felt.items()} == {
        ALONE: 2, BESIDE: 2, PLAIN: 2
    }  # fmt: skip
    assert all(share > 0 for some in measured.hears.values() for share in some)


def test_a_listener_is_stopped_that_could_not_start() -> None:
    class Broken(Noted):
        @override
        def start(self) -> None:
            super().start()
            raise RuntimeError

    notes: list[str] = []
    with pytest.raises(RuntimeError):
        measure(felt, {BESIDE: Broken("it", notes)}, repetitions=1, progress=lambda _: None)

    assert notes == ["it starts", "it stops"]


def measured(*beside: Felt) -> Measured:
    alone = [felt()] * len(beside)
    return Measured(felt={ALONE: alone, BESIDE: beside}, hears={ALONE: [0.0], BESIDE: [0.1]})


def test_what_is_kept_is_no_complaint_and_one_window_alone_breaks_nothing() -> None:
    assert measured(felt(12.0, 24.0)).complaints() == []
    assert measured(felt(), felt(90.0, 900.0), felt()).complaints() == []


def test_longer_waits_are_complaints() -> None:
    (p95,) = measured(felt(12.5, 20.0)).complaints()
    (longest,) = measured(felt(10.0, 25.0)).complaints()

    assert p95.startswith("p95 is 1.25 times alone")
    assert longest.startswith("the longest wait is 3.1 steps")


def test_the_table_has_the_ratio_to_the_streams_alone() -> None:
    table = comparison(measured(felt(15.0)), title="nano")

    ratio = table.ratio("wait p95, ms", BESIDE)
    assert ratio is not None
    assert ratio.median == 1.5
