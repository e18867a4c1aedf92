"""The benchmark of adapters: what counts as keeping one's turn, and the adapters it makes."""

from pathlib import Path

import pytest

from bench.adapters import Beside, beside, complaints
from bench.arrivals import Arrival
from bench.random_adapters import both
from umad import nano
from umad.models.adapters import misfit, read_adapter
from umad.models.gguf import read_header

MS = 1_000_000


def stream(*at_ms: int) -> list[Arrival]:
    return [Arrival(at_ns=at * MS, tokens=number) for number, at in enumerate(at_ms, start=1)]


def test_only_the_time_counts_in_which_both_decode() -> None:
    found = beside([stream(0, 10, 20, 30, 80, 90, 100, 110, 200), stream(10, 40, 50, 60, 110, 120)])

    assert found.waits_ms == [10] * 8 + [30, 50, 50]
    assert found.share == 6 / 7
    assert found.stays == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("share", "longest_ms", "said"),
    [
        (0.95, 240.0, []),
        (0.5, 240.0, ["one app got 0.50 of the tokens of the other"]),
        (0.95, 900.0, ["a stream waited 900 ms; a turn lasts 260 at most"]),
    ],
)
def test_an_app_that_gets_little_or_waits_long_is_named(
    share: float, longest_ms: float, said: list[str]
) -> None:
    found = Beside(tokens_per_s=50.0, share=share, waits_ms=[20.0, longest_ms], stays=[8])

    assert complaints([found], step_ms=10.0, switch_ms=10.0) == said


def test_the_adapters_fit_their_model_and_are_two(tmp_path: Path) -> None:
    paths = both(nano.path(), tmp_path)

    model = read_header(nano.path())
    for path in paths:
        facts, header = read_adapter(path)
        assert misfit(header, model) == ""
        assert (facts.rank, facts.n_weights) == (8, 12)
    assert paths[0].read_bytes() != paths[1].read_bytes()
    before = paths[0].stat().st_mtime_ns
    assert both(nano.path(), tmp_path) == paths
    assert paths[0].stat().st_mtime_ns == before
