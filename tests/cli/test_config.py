"""`umad config` and the flags of `umad serve`: what a daemon is started with."""

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Umad
from umad.cli import serve
from umad.config import Settings
from umad.configuration.sources import load


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Settings that `umad serve` would run a daemon with."""
    seen: list[Settings] = []

    def run_daemon(
        settings: Settings, *, budget: object, companions: object, library: object
    ) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(serve, "run_daemon", run_daemon)
    return seen


def test_the_flags_of_the_interface_reach_the_daemon(umad: Umad, served: list[Settings]) -> None:
    ended = umad(
        *("serve", "nano", "it's here.gguf", "--socket", "/tmp/u.sock", "--latency-cap", "1.5"),
        *("--bmt-budget", "320GBps", "--kv-type", "q8", "--kv-pack", "head-major"),
        *("--ctx-size", "4096", "--max-seqs", "8", "--threads", "2", "--gpu-layers", "all"),
        *("--ipc", "uds", "--max-concurrency", "5", "--max-tokens", "77", "--log-level", "error"),
        *("--no-mmap", "--scheduler-slice-ms", "100"),
    )

    assert ended.code == 0, ended.err
    (settings,) = served
    assert settings.models == ("nano", "it's here.gguf")
    assert settings.socket == "/tmp/u.sock"
    assert (settings.latency_cap, settings.bmt_budget_gbps) == (1.5, 320.0)
    engine = settings.engine
    assert (engine.kv_type, engine.kv_pack, engine.mmap) == ("q8", "head-major", False)
    assert (engine.ctx_size, engine.max_seqs, engine.threads) == (4096, 8, 2)
    assert engine.gpu_layers == -1
    assert (settings.limits.queue, settings.limits.max_tokens) == (5, 77)
    assert settings.logging.level == "error"
    assert settings.scheduler.slice_ms == 100


def test_with_nothing_configured_nano_is_served(umad: Umad, served: list[Settings]) -> None:
    assert umad("serve").code == 0

    assert served == [Settings()]


def test_a_wrong_value_never_starts_a_daemon(umad: Umad, served: list[Settings]) -> None:
    ended = umad("serve", "--latency-cap", "0.5")

    assert ended.code == 2
    assert "--latency-cap: latency_cap must be a number from 1 to 100" in ended.err
    assert served == []


def test_show_names_every_option_with_its_source(
    umad: Umad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text("latency_cap: 1.3\n")
    monkeypatch.setenv("UMAD_THREADS", "3")

    rows = {
        row["name"]: row
        for row in json.loads(umad("config", "show", "--config", str(path), "--json").out)
    }

    assert rows["latency_cap"] == {"name": "latency_cap", "value": 1.3, "from": f"{path}:1"}
    assert rows["threads"] == {"name": "threads", "value": 3, "from": "UMAD_THREADS"}
    assert rows["ctx_size"]["from"] == "default"


def test_what_show_prints_is_a_configuration(umad: Umad, tmp_path: Path) -> None:
    shown = umad("config", "show").out
    path = tmp_path / "umad.yaml"
    # Dotted names are for flags and people; what is unset cannot be said in the file.
    nested: dict[str, object] = {}
    for name, value in yaml.safe_load(shown).items():
        group, _, rest = name.rpartition(".")
        if group:
            inner = nested.setdefault(group, {})
            assert isinstance(inner, dict)
            inner[rest] = value
        else:
            nested[name] = value
    nested["gpu_layers"] = "all"
    path.write_text(yaml.safe_dump(nested))

    assert load(environ={}, path=path).settings == Settings()


def test_check_says_good_or_what_is_wrong(umad: Umad, tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text("latency_cap: 1.3\n")
    assert umad("config", "check", "--config", str(path)).out == f"{path}: good\n"

    path.write_text("\nlatency_cup: 1.3\n")
    ended = umad("config", "check", "--config", str(path))

    assert ended.code == 2
    assert ended.err == (
        f"umad: {path}:2: unknown key 'latency_cup'; did you mean 'latency_cap'?\n"
    )
