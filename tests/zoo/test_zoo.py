"""Every architecture that llama.cpp can run, through umad's own daemon (`make zoo-test`)."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveDaemon, live_daemon
from tests.zoo.bare import Bare, bare, ends_without_output
from tests.zoo.fixtures import Fixture, zoo
from tests.zoo.report import REPORT, Row
from tests.zoo.scenarios import Chat, Scenarios, Served, embeds
from umad.client import Client
from umad.engine.llamacpp.opened_model import WANTS_OUTPUT
from umad.errors import UmadError

# llama.cpp's log rounds to 0.01 MiB: of an allocation that is smaller than a hundred times that,
# the rounding is more than one per cent.
_ROUNDING_BYTES = 0.005 * 2**20
_MOST_ERROR_PCT = 1.0
# What llama.cpp cannot do: checks whose right answer is computed anew, and why.
_COLD: Mapping[str, tuple[tuple[str, ...], str]] = {
    "deepseek4": (
        ("turn", "edited", "parked"),
        "llama.cpp copies no beginning of a sequence whose cells are its own",
    ),
}
# Small, so that few strangers fill it.
_POOL_CELLS = 2048


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    folder = tmp_path_factory.mktemp("zoo")
    settings = (
        *("--ctx-size", str(_POOL_CELLS), "--threads", "1", "--gpu-layers", "0"),
        *("--embed-cache-bytes", "0"),  # texts are compared with themselves
    )
    with live_daemon(folder, *settings) as running:
        yield running


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fixture", zoo(), ids=lambda fixture: fixture.name)
def test_a_model_is_served_as_llama_cpp_runs_it_or_refused_in_a_line(
    daemon: LiveDaemon, fixture: Fixture
) -> None:
    row = REPORT.row(fixture.name)
    if fixture.path is None:
        row.reasons.append(f"llama.cpp has no such model: {fixture.reason[:110]}")
        pytest.skip(row.reasons[0])

    with Client(daemon.socket) as client:
        try:
            facts = client.load(str(fixture.path))
        except UmadError as error:
            _is_refused(daemon, fixture, row, error)
            return
        try:
            alone = asyncio.run(_served(daemon, fixture.path, facts, row))
        finally:
            client.unload(facts["name"])
    _is_reckoned(row, facts, alone)
    if fixture.architecture in WANTS_OUTPUT:
        _is_given_an_output(fixture.path, row)
    may_be_cold, why = _COLD.get(fixture.architecture, ((), ""))
    if "cold" in row.checks.values() and why:
        row.reasons.append(why)
    assert not row.failed(may_be_cold=may_be_cold), row.line()


def _alone(path: Path, facts: Mapping[str, Any], chat: Chat | None) -> Bare:
    return bare(
        path,
        ctx_size=_POOL_CELLS,
        asked=None if chat is None else chat.asked,
        n_cells=facts["n_cells"],
        n_seqs=_n_seqs(facts),
        swa_full=_has_full_windows(facts),
    )


def _n_seqs(facts: Mapping[str, Any]) -> int:
    """Sequences of the context: those of requests, and those that cells are copied through."""
    if not facts["state_bytes"]:
        return int(facts["max_seqs"]) + 1
    return int(facts["max_seqs"]) + (2 if facts["kv_cell_bytes"] else 0)


def _has_full_windows(facts: Mapping[str, Any]) -> bool:
    return bool(facts["window_tokens"]) and facts["window_cells"] >= facts["n_cells"]


def _is_refused(daemon: LiveDaemon, fixture: Fixture, row: Row, error: UmadError) -> None:
    """One line says why, the daemon lives, and llama.cpp by itself cannot run it either."""
    assert fixture.path is not None
    alone = bare(fixture.path, ctx_size=_POOL_CELLS, n_cells=_POOL_CELLS, n_seqs=2)
    row.checks["bare"] = "yes" if alone.tokens else "no"
    said = error.message.removeprefix(f"{fixture.name}: ")
    row.reasons.append(said.replace(str(fixture.path), fixture.path.name))
    assert "\n" not in error.message
    assert error.code in ("model_load_failed", "model_too_large")
    assert daemon.process.poll() is None
    assert not alone.tokens, "llama.cpp runs it"


async def _served(daemon: LiveDaemon, path: Path, facts: Mapping[str, Any], row: Row) -> Bare:
    """What llama.cpp makes of it by itself, which everything is held against."""
    name = facts["name"]
    async with daemon.client() as client:
        if not facts["generates"]:
            row.checks["embeds"] = await embeds(client, name)
            return _alone(path, facts, None)
        served = Served(
            name=name,
            n_vocab=facts["n_vocab"],
            n_cells=facts["n_cells"],
            n_positions=facts["ctx"],
        )
        chat = await Chat.of(client, served)
        alone = _alone(path, facts, chat)
        row.checks["bare"] = "yes" if alone.tokens else "no"
        assert alone.tokens, alone.reason
        await Scenarios(client, served, path, chat, alone, row).run()
        return alone


def _is_reckoned(row: Row, facts: Mapping[str, Any], alone: Bare) -> None:
    """KV and states are within 1 % of what llama.cpp allocates for such a context."""
    if alone.reason and not alone.kv_bytes and not alone.state_bytes:
        return
    n_seqs = _n_seqs(facts)
    kv_bytes = _own_bytes(facts) * n_seqs or (
        facts["n_cells"] * (facts["kv_cell_bytes"] - facts["window_cell_bytes"])
        + facts["window_cells"] * facts["window_cell_bytes"]
    )
    row.kv_error_pct = _error_pct(kv_bytes, alone.kv_bytes)
    row.state_error_pct = _error_pct(facts["state_bytes"] * n_seqs, alone.state_bytes)
    assert abs(row.kv_error_pct or 0.0) <= _MOST_ERROR_PCT
    assert abs(row.state_error_pct or 0.0) <= _MOST_ERROR_PCT


def _is_given_an_output(path: Path, row: Row) -> None:
    """No other program computes a long prompt of this model in parts: llama.cpp ends it."""
    words = ends_without_output(path)
    row.reasons.append(
        f"llama.cpp by itself ends at a batch without an output, so umad asks for one ({words})"
    )
    assert words, "llama.cpp computes it by now"


def _own_bytes(facts: Mapping[str, Any]) -> int:
    """What a sequence keeps for itself that is neither a state nor its window."""
    kept = int(facts["seq_bytes"]) - int(facts["state_bytes"])
    return 0 if kept == facts["window_tokens"] * facts["window_cell_bytes"] else kept


def _error_pct(reckoned: int, allocated: int) -> float | None:
    if not reckoned and not allocated:
        return None
    off = max(0.0, abs(reckoned - allocated) - _ROUNDING_BYTES)
    return 100.0 * (off if reckoned >= allocated else -off) / max(allocated, _ROUNDING_BYTES)
