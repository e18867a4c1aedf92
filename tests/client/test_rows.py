"""Rows are typed, and still the mapping that the daemon sent."""

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from tests.live import LiveDaemon, live_daemon, wait_until
from umad import Client, FeltRow, MetricsRow, ModelRow, ProtocolViolation, RequestRow
from umad.client.rows import Row
from umad.service import Tokens

MODEL = {
    "name": "m",
    "state": "ready",
    "ctx": 4096,
    "devices": ["GPU 0"],
    "error": None,
    "a_field_of_next_year": [1],
}


def test_a_row_has_attributes_and_is_the_mapping_that_came() -> None:
    row = ModelRow.of(MODEL)

    assert (row.name, row.state, row.ctx, row.devices) == ("m", "ready", 4096, ("GPU 0",))
    assert (row.error, row.pid) == (None, None)
    assert row == MODEL
    assert dict(row) == row.raw == MODEL
    assert row["a_field_of_next_year"] == row.raw["a_field_of_next_year"] == [1]
    assert json.dumps(dict(row)) == json.dumps(MODEL)


def test_a_row_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ModelRow.of(MODEL).name = "n"  # type: ignore[misc]


def test_the_scorecards_lanes_apps_and_models_are_rows_too() -> None:
    felt = {"requests": 1, "p95_ms": 20, "guard_held": True}
    row = MetricsRow.of({"lanes": {"a": felt}, "models": {"m": {"apps": {"b": felt}}}})

    assert isinstance(row.lanes["a"], FeltRow)
    assert (row.lanes["a"].requests, row.lanes["a"].p95_ms) == (1, 20)
    assert row.models["m"].apps["b"].guard_held is True


@pytest.mark.parametrize(
    ("row", "raw", "place"),
    [
        (ModelRow, {"name": 7}, "ModelRow.name is no str"),
        (ModelRow, {"ctx": "many"}, "ModelRow.ctx is no int"),
        (ModelRow, {"ctx": True}, "ModelRow.ctx is no int"),
        (ModelRow, {"devices": "GPU"}, "ModelRow.devices is no array"),
        (RequestRow, {"age_ms": "old"}, "RequestRow.age_ms is no float"),
        (MetricsRow, {"lanes": []}, "MetricsRow.lanes is no map"),
        (MetricsRow, {"lanes": {"a": 7}}, "not a map"),
        (ModelRow, [], "not a map"),
    ],
)
def test_a_row_of_the_wrong_shape_is_refused(row: type[Row], raw: Any, place: str) -> None:
    with pytest.raises(ProtocolViolation, match=place):
        row.of(raw)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with live_daemon(tmp_path_factory.mktemp("d"), "nano", "--max-tokens", "4000") as running:
        yield running


def unread(row: Row) -> set[str]:
    """Attributes for which the daemon sent nothing."""
    return {name for name in type(row).__dataclass_fields__ if name != "raw"} - set(row)


def test_a_real_daemon_fills_every_attribute(daemon: LiveDaemon) -> None:
    with Client(daemon.socket) as client, Client(daemon.socket) as other:
        events = client.generate("def f(", max_tokens=4000, ignore_eos=True, session="s")
        next(one for one in events if isinstance(one, Tokens))
        (request,) = other.sessions()
        events.close()
        wait_until(lambda: not other.sessions(), what="its end")  # it is counted by then
        (model,) = other.models()
        card = other.metrics()
        loaded = other.load("nano")

    assert unread(request) == {"done_s", "total_s"}  # of recordings
    # Presets are told where they are asked for, languages by models that hear.
    assert unread(model) == {"presets", "languages"}
    assert unread(card) == {"tokens"}  # of lanes and apps
    assert unread(card.lanes["interactive"]) == set()
    assert unread(card.models["nano"]) == {"tokens", "window_s", "models"}
    assert (model.name, model.state, model.generates) == ("nano", "ready", True)
    assert (request.session, request.model) == ("s", "nano")
    assert card.requests == card.lanes["interactive"].requests == 1
    assert loaded.path.endswith(".gguf")
