"""`umad estimate`, which needs no daemon."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Umad
from tests.models import trees
from umad.engine.process import memory_bytes

NOBODY = "/tmp/umad-nobody-listens.sock"


def test_an_estimate_shows_every_part_the_total_and_what_fits(umad: Umad) -> None:
    ended = umad("estimate", "nano", "--ctx", "8192", "--seqs", "4", "--socket", NOBODY)

    assert (ended.code, ended.err) == (0, "")
    first, *rows = ended.out.splitlines()
    assert first == "nano: all 4,096 tokens fit, 2 such texts at once"
    shown = {row.split()[0] for row in rows}
    assert {"weights", "cells", "compute", "output", "process", "total", "most"} <= shown


def test_json_of_an_estimate_is_for_programs(umad: Umad) -> None:
    ended = umad("estimate", "nano", "--kv-type", "q8", "--json", "--socket", NOBODY)

    found = json.loads(ended.out)
    assert found["kv_type"] == "Q8_0"
    assert found["fits"] is True
    parts = ("weights", "projector", "cells", "windows", "states", "compute", "output", "process")
    assert sum(found[f"{part}_bytes"] for part in parts) == found["total_bytes"]


def test_a_model_that_is_too_large_ends_with_1_and_the_reason(
    umad: Umad, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever machine this is, other models leave it so much.
    taken_bytes = max(0, memory_bytes() - 8 * 2**30)
    monkeypatch.setattr("umad.cli.estimate._taken_bytes", lambda *_, **__: taken_bytes)

    ended = umad("estimate", "nano", "--ctx", str(2**24), "--socket", NOBODY)

    assert ended.code == 1
    assert "it would be refused: " in ended.err
    assert "16777216 cells of KV" in ended.err


def test_a_file_that_cannot_be_estimated_is_one_line(umad: Umad, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")

    ended = umad("estimate", str(tmp_path / "broken.gguf"), "--socket", NOBODY)

    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "damaged" in ended.err


def test_a_projector_is_counted_where_one_is_named(umad: Umad, nano_path: Path) -> None:
    words = ("estimate", "nano", "--json", "--socket", NOBODY)
    alone = json.loads(umad(*words).out)
    beside = json.loads(umad(*words, "--mmproj", str(nano_path)).out)

    assert beside["projector_bytes"] == alone["weights_bytes"]
    assert beside["total_bytes"] == alone["total_bytes"] + alone["weights_bytes"]


def test_any_name_that_the_daemon_would_load_can_be_estimated(
    umad: Umad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nano_path: Path
) -> None:
    trees.ollama(tmp_path, "registry.ollama.ai/library/fox/3b", {"model": nano_path.read_bytes()})
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))

    there = umad("estimate", "fox:3b", "--socket", NOBODY)
    missing = umad("estimate", "qwen3-coder:30b", "--socket", NOBODY)

    assert there.code == 0
    assert there.out.startswith("fox:3b: all 4,096 tokens fit")
    assert missing.code == 1
    assert "fetch it: umad pull qwen3-coder:30b" in missing.err


def test_a_model_that_cannot_be_loaded_is_not_estimated(
    umad: Umad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trees.ollama(tmp_path, "registry.ollama.ai/library/fox/3b", {"model": b"x"})
    for blob in (folder / "blobs").iterdir():
        blob.unlink()
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))

    ended = umad("estimate", "fox:3b", "--socket", NOBODY)

    assert ended.code == 1
    assert "fox:3b cannot be loaded: its file" in ended.err
