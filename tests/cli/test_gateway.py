"""`umad gateway` serves presets: those that a person wrote down, and those that were saved."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from umad.cli import gateway
from umad.cli.app import main
from umad.models.presets import SavedPresets
from umad.models.store import store_folder
from umad.preset import Preset


def test_saved_presets_are_served_at_once_behind_those_that_a_person_wrote_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMAD_MODELS", str(tmp_path / "store"))
    config = tmp_path / "umad.yaml"
    config.write_text("")
    (tmp_path / "models.yaml").write_text("presets: {reviewer: {model: nano, system: Mine.}}\n")
    reads: list[Callable[[], Mapping[str, Preset]]] = []

    def serve(_: Any, *, presets: Callable[[], Mapping[str, Preset]]) -> int:
        reads.append(presets)
        return 0

    monkeypatch.setattr(gateway, "run_gateway", serve)
    assert main(["gateway", "--config", str(config)]) == 0
    assert set(reads[0]()) == {"reviewer"}

    store = SavedPresets(store_folder(os.environ))
    for name in ("reviewer", "mario"):
        store.save(Preset(name=name, model="nano", system=f"Saved {name}.", sampling={"top_k": 3}))

    now = reads[0]()
    assert now["reviewer"].system == "Mine."
    assert (now["mario"].system, now["mario"].sampling) == ("Saved mario.", {"top_k": 3})
