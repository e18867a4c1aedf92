"""`umad ps`, `priority`, `cancel`, `load`, `unload`, `metrics`: what an operator sees and does."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Fakes, Umad
from tests.cli.test_run import LONG, first_tokens
from umad.errors import ModelLoadFailed

Spawn = Callable[..., subprocess.Popen[str]]


def test_ps_lists_models_and_what_runs_on_them(asking: Umad, spawn: Spawn) -> None:
    process = spawn("run", "hello", "--json", *LONG)
    request = first_tokens(process)

    table = asking("ps").out
    listed = json.loads(asking("ps", "--json").out)

    assert table.splitlines()[0].split()[:2] == ["MODEL", "STATE"]
    assert request in table
    (model,) = [row for row in listed["models"] if row["name"] == "m"]
    assert model["state"] == "ready"
    (row,) = listed["sessions"]
    assert (row["request"], row["lane"]) == (request, "interactive")


def test_ps_says_which_rule_chose_the_lane_and_that_a_person_did_later(
    asking: Umad, spawn: Spawn
) -> None:
    request = first_tokens(spawn("run", "hello", "--json", "--lane", "interactive", *LONG))

    def row() -> dict[str, str]:
        (one,) = json.loads(asking("ps", "--json").out)["sessions"]
        return {key: one[key] for key in ("lane", "lane_by")}

    asked = row()
    table = asking("ps").out
    asking("priority", request, "background")

    assert asked == {"lane": "interactive", "lane_by": "the request"}
    assert "CHOSEN BY" in table
    assert "the request" in table
    assert row() == {"lane": "background", "lane_by": "umad priority"}


def test_ps_says_so_when_nothing_runs(asking: Umad) -> None:
    assert asking("ps").out.splitlines()[-1] == "nothing runs"


def test_a_name_cannot_paint_the_terminal_nor_break_the_tables(asking: Umad, spawn: Spawn) -> None:
    first_tokens(spawn("run", "hello", "--json", "--session", "[/x]\x1b[31m\n", *LONG))

    ended = asking("ps")

    assert ended.code == 0
    assert "[/x]\\x1b[31m\\n" in ended.out


def test_priority_moves_a_running_request(asking: Umad, spawn: Spawn) -> None:
    request = first_tokens(spawn("run", "hello", "--json", *LONG))

    moved = asking("priority", request, "background")

    assert moved.out == "1 request moved to background\n"
    (row,) = json.loads(asking("ps", "--json").out)["sessions"]
    assert row["lane"] == "background"


def test_cancelling_what_does_not_run_is_1(asking: Umad) -> None:
    ended = asking("cancel", "r999999")

    assert ended.code == 1
    assert "r999999" in ended.err


def test_a_model_is_loaded_and_unloaded(asking: Umad, fakes: Fakes) -> None:
    assert asking("load", str(fakes.other)).out == "other is loaded\n"
    assert "other" in asking("ps").out

    assert asking("unload", "other").out == "other is unloaded\n"
    assert "other" not in asking("ps").out


def test_a_model_is_unloaded_by_its_path_too(asking: Umad, fakes: Fakes) -> None:
    asking("load", str(fakes.other))

    assert asking("unload", str(fakes.other)).code == 0
    assert "other" not in asking("ps").out


def test_a_model_that_is_not_there_is_1(asking: Umad) -> None:
    ended = asking("load", "/nowhere/x.gguf")

    assert ended.code == 1
    assert "/nowhere/x.gguf" in ended.err


def test_metrics_are_for_people_programs_and_spreadsheets(asking: Umad) -> None:
    asking("run", "hello", "--max-tokens", "5")

    table = asking("metrics").out
    card = json.loads(asking("metrics", "--json").out)
    (row,) = csv.DictReader(asking("metrics", "--csv").out.splitlines())

    assert "tokens_per_s_at_cap" in table
    assert "LANES" in table
    assert card["requests"] >= 1
    assert set(card["models"]) == {"m"}
    assert row["latency_cap"] == "1.2"
    assert row["at"].endswith("+00:00")


def test_ps_shows_how_much_of_a_model_with_experts_in_its_file_is_in_memory(
    umad: Umad, monkeypatch: pytest.MonkeyPatch, nano_path: Path
) -> None:
    rows = [
        {"name": "moe", "state": "ready", "path": str(nano_path), "paged_bytes": 1},
        {"name": "dense", "state": "ready", "path": str(nano_path), "paged_bytes": 0},
        {"name": "gone", "state": "ready", "path": "/nowhere/x.gguf", "paged_bytes": 1},
    ]
    monkeypatch.setattr("umad.cli.running.call", lambda socket, look: (rows, []))
    monkeypatch.setattr("umad.engine.residency.resident_weights", weights_in_memory)

    shown = umad("ps").out
    found = {one["name"]: one for one in json.loads(umad("ps", "--json").out)["models"]}

    assert "moe reads experts from its file as they are used: 2.0 MB of 6.0 MB are" in shown
    assert "dense reads" not in shown
    assert found["moe"]["resident_bytes"] == 2_000_000
    assert "resident_bytes" not in found["gone"]


def weights_in_memory(path: Path) -> tuple[int, int]:
    if not path.is_file():
        raise ModelLoadFailed(f"{path} does not exist")
    return 2_000_000, 6_000_000
