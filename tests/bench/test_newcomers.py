"""The benchmark of first tokens beside running streams: its tables, its picture, its simulation."""

import json
import statistics
from pathlib import Path

import pytest

from bench import newcomers, newcomers_simulated
from bench.latency import Felt
from bench.load import Load
from umad.config import SchedulerSettings

LOAD = Load(
    clients=3,
    prompt_tokens=60,
    tokens=48,
    think_s=0.5,
    background_prompt_tokens=0,
    background_tokens=0,
    think_spread=0.5,
)


@pytest.fixture(scope="module")
def curve() -> dict[str, list[Felt]]:
    settings = {"umad": SchedulerSettings(), "whole": SchedulerSettings(newcomer_ms=2_000.0)}
    return newcomers_simulated.curve(LOAD, settings, seconds=60.0, seeds=range(5))


def ratio(curve: dict[str, list[Felt]], name: str, figure: str) -> float:
    pairs = zip(curve[name], curve["llama-server"], strict=True)
    return float(statistics.median([getattr(a, figure) / getattr(b, figure) for a, b in pairs]))


def test_first_tokens_come_nearly_as_soon_and_streams_wait_far_less_for_them(
    curve: dict[str, list[Felt]],
) -> None:
    assert ratio(curve, "umad", "first_token_p50_ms") <= 1.2
    assert ratio(curve, "umad", "p99_ms") <= 0.61
    assert ratio(curve, "umad", "longest_ms") <= 0.61
    assert ratio(curve, "umad", "tokens_per_s") >= 0.99


def test_a_setting_that_lets_streams_wait_serves_them_as_llama_server_does(
    curve: dict[str, list[Felt]],
) -> None:
    assert ratio(curve, "whole", "first_token_p50_ms") <= 1.0
    assert ratio(curve, "whole", "p99_ms") == pytest.approx(1.0, abs=0.05)


def test_every_part_that_was_measured_has_a_table(curve: dict[str, list[Felt]]) -> None:
    measured = newcomers.Measured(
        felt=curve, bursts={2: {"umad": [3.0], "llama-server": [4.0]}}, first={}
    )

    tables = newcomers.comparisons(measured, title="x", base="llama-server")

    assert [table.kind for table in tables] == ["thinking", "bursts"]
    spread = tables[1].ratio("2", "umad")
    assert spread is not None
    assert spread.median == pytest.approx(0.75)


def test_the_curve_is_drawn_with_a_point_for_each_setting(tmp_path: Path) -> None:
    charts = pytest.importorskip("bench.charts")
    out = tmp_path / "newcomers.json"

    arguments = ["--simulated", "--settings", "default", "1000", "--seconds", "20", "--json"]
    assert newcomers.main([*arguments, str(out), "--repetitions", "1"]) == 0
    drawn = charts.draw(json.loads(out.read_text()), tmp_path)

    picture = next(path for path in drawn if path.name == "newcomers-curve.svg").read_text()
    assert "umad, 1000" in picture
    assert "llama-server" in picture
