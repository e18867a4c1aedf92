"""What steps cost is remembered per machine and model, and no file can do harm."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.engine.steps.cost_file import VERSION, WRITE_EVERY_NS, CostFile, checked
from umad.scheduler.costs.step_cost import CostModel

ABOUT = "CPU of a test; 2 of 2 threads; a model"


def learnt() -> CostModel:
    cost = CostModel()
    cost.learn_all([(1, 0, 17.0), (4, 0, 50.0), (0, 64, 200.0), (2, 16, 90.0)])
    for start in range(0, 2000, 64):
        cells = 64 * (start + 32)
        cost.learn(0, 64, 200.0 + 0.002 * cells, prefill_cells=cells)
    return cost


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_costs_that_were_written_are_read_again_as_they_were(tmp_path: Path) -> None:
    cost, again = learnt(), CostModel()

    CostFile(tmp_path / "costs", ABOUT).write(cost)
    read = CostFile(tmp_path / "costs", ABOUT).read()

    assert read is not None
    again.restore(read)
    assert again.snapshot() == cost.snapshot()
    assert again.prefill.slice_ms(100, 1500) == pytest.approx(cost.prefill.slice_ms(100, 1500))


def test_another_machine_or_model_has_a_file_of_its_own(tmp_path: Path) -> None:
    CostFile(tmp_path, ABOUT).write(learnt())

    assert CostFile(tmp_path, "another machine").read() is None


def test_a_file_that_was_copied_from_another_machine_is_ignored_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    CostFile(tmp_path / "there", "there").write(learnt())
    CostFile(tmp_path / "here", "here").write(learnt())
    only_file(tmp_path / "here").write_bytes(only_file(tmp_path / "there").read_bytes())

    with caplog.at_level(logging.INFO):
        found = CostFile(tmp_path / "here", "here").read()

    assert found is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "it is about another machine or model" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: "",
        lambda file: "[]",
        lambda file: json.dumps(file)[:-40],
        lambda file: json.dumps({**file, "version": 99}),
        lambda file: json.dumps({**file, "costs": {}}),
        lambda file: json.dumps({**file, "costs": {**file["costs"], "decode": [[], 0]}}),
        lambda file: json.dumps(file).replace("17.0", "NaN"),
        lambda file: json.dumps(file).replace("17.0", "-17.0"),
        lambda file: json.dumps(file).replace("17.0", '"17"'),
    ],
)
def test_a_damaged_file_is_ignored_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    cost = CostModel()
    cost.learn(1, 0, 17.0)
    CostFile(tmp_path, ABOUT).write(cost)
    path = only_file(tmp_path)
    path.write_text(damage(json.loads(path.read_text())))

    with caplog.at_level(logging.INFO):
        found = CostFile(tmp_path, ABOUT).read()

    assert found is None
    assert len(caplog.records) == 1


def test_a_folder_that_cannot_be_written_costs_a_line_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()

    CostFile(tmp_path / "file" / "costs", ABOUT).write(learnt())

    assert "costs cannot be remembered" in caplog.text


def test_an_engine_that_rests_often_writes_seldom(tmp_path: Path) -> None:
    file, cost = CostFile(tmp_path, ABOUT), learnt()
    file.write_now_and_then(cost, WRITE_EVERY_NS)
    first = only_file(tmp_path).read_bytes()

    cost.learn(1, 0, 30.0)
    file.write_now_and_then(cost, WRITE_EVERY_NS + 1)
    soon = only_file(tmp_path).read_bytes()
    file.write_now_and_then(cost, 2 * WRITE_EVERY_NS)

    assert soon == first
    assert only_file(tmp_path).read_bytes() != first
    assert len(list(tmp_path.iterdir())) == 1, "no halves are left"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(costs=JSON, curve=JSON)
def test_whatever_stands_in_a_file_it_is_costs_or_refused(costs: Any, curve: Any) -> None:
    names = CostModel().snapshot().keys()
    for value in (costs, dict.fromkeys(names, curve), {name: [curve, 0.0] for name in names}):
        with pytest.raises(ValueError, match=r"it |curve|point|cell"):
            checked({"version": VERSION, "about": ABOUT, "costs": value}, ABOUT)
