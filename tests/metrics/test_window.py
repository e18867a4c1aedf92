"""The window's memory: nothing of it is lost while it fits, and it stays bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.metrics import window
from umad.metrics.pending import PendingClock
from umad.metrics.window import WindowRing

DTYPE = np.dtype([("at_ns", np.int64), ("value", np.int64)])


@given(
    steps=st.lists(st.integers(0, 30), max_size=200),
    window_ns=st.integers(1, 200),
    first_rows=st.sampled_from([4, 8]),
)
def test_every_row_of_the_window_is_there_in_order(
    steps: list[int], window_ns: int, first_rows: int
) -> None:
    ring = WindowRing(DTYPE, window_ns=window_ns, first_rows=first_rows)
    kept: list[tuple[int, int]] = []
    now = 1000
    for value, step in enumerate(steps):
        now += step
        ring.append((now, value))
        kept.append((now, value))

    found = [(int(at), int(value)) for at, value in ring.since(now - window_ns)]

    assert found == [row for row in kept if row[0] > now - window_ns]


def test_beyond_its_limit_the_oldest_rows_are_lost_and_no_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window, "MAX_ROWS", 16)
    ring = WindowRing(DTYPE, window_ns=10**12, first_rows=8)
    for at in range(1, 101):
        ring.append((at, at))

    found = ring.since(0)

    assert found["value"].tolist() == list(range(85, 101))


@given(spans=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 80)), max_size=12))
def test_pending_time_is_the_union_of_all_spans_inside_the_window(
    spans: list[tuple[int, int]],
) -> None:
    now, window_ns = 600, 300
    clock = PendingClock(window_ns=window_ns)
    events = sorted(
        [(began, 1) for began, _ in spans] + [(began + length, -1) for began, length in spans],
        key=lambda event: (event[0], -event[1]),
    )
    for at, change in events:
        if change > 0:
            clock.began(at)
        else:
            clock.ended(at)

    instants = {at for began, length in spans for at in range(began, began + length)}
    expected = sum(1 for at in instants if now - window_ns <= at < now)
    assert clock.wall_ns(now) == expected
