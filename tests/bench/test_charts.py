"""Charts from documents as the benchmarks write them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="charts are drawn where the bench extra is installed")

from bench import charts
from bench.errors import BenchError
from bench.longctx import Measured, Traffic, comparisons
from bench.machine import Machine
from bench.table import Comparison, as_json

MACHINE = Machine(
    cpu="a processor",
    cores=2,
    memory_bytes=2**33,
    system="Linux",
    backend="CPU",
    llama_cpp="x",
    python="3.11",
    umad="0",
    busy_pct=None,
    load_average=0.0,
)


def cost(name: str, beside_ms: Sequence[float]) -> Comparison:
    return Comparison(
        kind=f"cost-{name}",
        title=f"tiny: {name}, against itself alone",
        unit="ms and tokens/s",
        condition="figure",
        baseline="alone",
        samples={
            "wait p99, ms": {"alone": [10.0, 10.0], "beside background": beside_ms},
            "longest wait, ms": {"alone": [0.0, 1.0], "beside background": beside_ms},
        },
    )


def document(name: str, tables: Sequence[Comparison]) -> dict[str, object]:
    return {"benchmark": name, **as_json(MACHINE, tables)}


def test_a_mixed_load_becomes_a_chart_a_table_and_one_of_what_background_costs(
    tmp_path: Path,
) -> None:
    tables = [cost("umad", [11, 13]), cost("peer", [400, 500])]

    files = charts.draw(document("mixed", tables), tmp_path)

    assert {file.name for file in files} == {
        f"mixed-{kind}.{ending}"
        for kind in ("cost-umad", "cost-peer", "cost")
        for ending in ("svg", "png")
    }
    told = (tmp_path / "mixed-cost.svg").read_text()
    assert all(word in told for word in ("umad", "peer", "wait p99", "times as long as alone"))


def test_long_contexts_are_drawn_against_the_bytes_a_token_moves(tmp_path: Path) -> None:
    traffic = Traffic(weight_bytes=10**6, kv_cell_bytes=100, vocabulary_tokens=50, kv_type="F16")
    measured = Measured(
        speeds={(one, 512): {"umad": [9.0, 8.0], "peer": [7.0, 7.5]} for one in ("f16", "q8")},
        prefill_s={(one, 512): {"umad": [1.0], "peer": [2.0]} for one in ("f16", "q8")},
        traffic={"f16": traffic, "q8": traffic},
    )
    tables = comparisons(measured, title="tiny", names=["umad", "peer"])

    charts.draw(document("longctx", tables), tmp_path)

    told = (tmp_path / "longctx-bytes.svg").read_text()
    assert all(word in told for word in ("MB moved for a token", "umad, 512", "q8"))


def test_a_simulated_day_is_a_line_for_each_contender(tmp_path: Path) -> None:
    hours = Comparison(
        kind="day",
        title="a day",
        unit="%",
        condition="hour",
        baseline="umad",
        samples={str(hour): {"umad": [hour], "peer": [2.0 * hour]} for hour in range(24)},
    )

    files = charts.draw(document("fleet", [hours]), tmp_path)

    told = (tmp_path / "fleet-day.svg").read_text()
    assert all(word in told for word in ("umad", "peer", "hour of the simulated day"))
    assert len(files) == 2


def test_the_same_document_gives_the_same_bytes(tmp_path: Path) -> None:
    drawn = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files = charts.draw(document("mixed", [cost("umad", [11, 13])]), tmp_path / name)
        drawn.append([file.read_bytes() for file in files])

    assert drawn[0] == drawn[1]


def test_a_document_without_tables_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no tables"):
        charts.draw({"benchmark": "budget", "rows": []}, tmp_path)
