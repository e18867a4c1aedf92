"""Every architecture that llama.cpp can run, through umad's own daemon (`make zoo-test`)."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveDaemon, Stream, collect, live_daemon
from tests.zoo.bare import N_TOKENS, Bare, bare, prompts
from tests.zoo.fixtures import CONTEXT_TOKENS, Fixture, zoo
from tests.zoo.report import REPORT, Row
from umad.client import Client
from umad.errors import UmadError
from umad.request import GenerateRequest, SamplingParams

# llama.cpp's log rounds to 0.01 MiB: of an allocation that is smaller than a hundred times that,
# the rounding is more than one per cent.
_ROUNDING_BYTES = 0.005 * 2**20
_MOST_ERROR_PCT = 1.0
# llama-server, too, decodes something else of these beside others.
_NOT_BESIDE = ("plamo2",)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    folder = tmp_path_factory.mktemp("zoo")
    settings = ("--ctx-size", str(CONTEXT_TOKENS), "--threads", "1", "--gpu-layers", "0")
    with live_daemon(folder, *settings) as running:
        yield running


@pytest.mark.parametrize("fixture", zoo(), ids=lambda fixture: fixture.name)
def test_a_model_is_served_as_llama_cpp_runs_it_or_refused_in_a_line(
    daemon: LiveDaemon, fixture: Fixture
) -> None:
    row = REPORT.row(fixture.name)
    if fixture.path is None:
        row.reason = f"llama.cpp has no such model: {fixture.reason[:110]}"
        pytest.skip(row.reason)

    with Client(daemon.socket) as client:
        try:
            facts = client.load(str(fixture.path))
        except UmadError as error:
            _is_refused(daemon, fixture, row, error)
            return
        try:
            answers = asyncio.run(_answers(daemon, facts)) if facts["generates"] else None
        finally:
            client.unload(facts["name"])
    alone = _alone(fixture.path, facts)
    _is_reckoned(row, facts, alone)
    if answers is None:
        row.reason = "umad embeds with it"
        return
    _is_the_same(row, alone, *answers)


def _alone(path: Path, facts: Mapping[str, Any]) -> Bare:
    keeps_states = facts["seq_bytes"] > 0
    return bare(
        path,
        ctx_size=CONTEXT_TOKENS,
        n_cells=facts["n_cells"],
        n_seqs=facts["max_seqs"] + (0 if keeps_states else 1),
    )


def _is_refused(daemon: LiveDaemon, fixture: Fixture, row: Row, error: UmadError) -> None:
    """One line says why, the daemon lives, and llama.cpp by itself cannot run it either."""
    assert fixture.path is not None
    alone = bare(fixture.path, ctx_size=CONTEXT_TOKENS, n_cells=CONTEXT_TOKENS, n_seqs=2)
    row.bare = "yes" if alone.tokens else "no"
    row.reason = error.message.removeprefix(f"{fixture.name}: ").replace(
        str(fixture.path), fixture.path.name
    )
    assert "\n" not in error.message
    assert error.code in ("model_load_failed", "model_too_large")
    assert daemon.process.poll() is None
    assert not alone.tokens, "llama.cpp runs it"


async def _answers(
    daemon: LiveDaemon, facts: Mapping[str, Any]
) -> tuple[tuple[Stream, ...], tuple[Stream, ...]]:
    """Two prompts, one after the other, then both at once."""
    sampling = SamplingParams(temperature=0.0, max_tokens=N_TOKENS, ignore_eos=True)
    asked = [
        GenerateRequest(prompt_ids=ids, model=facts["name"], sampling=sampling)
        for ids in prompts(facts["n_vocab"])
    ]
    async with daemon.client() as client:
        alone = [await collect(client, request) for request in asked]
        beside = await asyncio.gather(*(collect(client, request) for request in asked))
    return tuple(alone), tuple(beside)


def _is_reckoned(row: Row, facts: Mapping[str, Any], alone: Bare) -> None:
    """KV and states are within 1 % of what llama.cpp allocates for such a context."""
    if alone.reason and not alone.kv_bytes and not alone.state_bytes:
        return
    n_seqs = facts["max_seqs"] + (0 if facts["seq_bytes"] else 1)
    own_bytes = facts["seq_bytes"] - facts["state_bytes"]
    kv_bytes = own_bytes * n_seqs if own_bytes else facts["kv_cell_bytes"] * facts["n_cells"]
    row.kv_error_pct = _error_pct(kv_bytes, alone.kv_bytes)
    row.state_error_pct = _error_pct(facts["state_bytes"] * n_seqs, alone.state_bytes)
    assert abs(row.kv_error_pct or 0.0) <= _MOST_ERROR_PCT
    assert abs(row.state_error_pct or 0.0) <= _MOST_ERROR_PCT


def _error_pct(reckoned: int, allocated: int) -> float | None:
    if not reckoned and not allocated:
        return None
    off = max(0.0, abs(reckoned - allocated) - _ROUNDING_BYTES)
    return 100.0 * (off if reckoned >= allocated else -off) / max(allocated, _ROUNDING_BYTES)


def _is_the_same(
    row: Row, alone: Bare, one_by_one: tuple[Stream, ...], at_once: tuple[Stream, ...]
) -> None:
    failed = [stream.failed.message for stream in (*one_by_one, *at_once) if stream.failed]
    served = tuple(tuple(stream.ids) for stream in one_by_one)
    beside = tuple(tuple(stream.ids) for stream in at_once)
    row.bare = "yes" if alone.tokens else "no"
    row.umad = "yes" if served == alone.tokens else "no"
    row.beside = "yes" if beside == served else "no"
    row.reason = failed[0] if failed else alone.reason
    assert not failed
    if not alone.tokens:
        return
    if not alone.agrees_sliced:
        row.reason = "bare llama.cpp decodes something else when its prompt comes in two parts"
    else:
        assert served == alone.tokens
    if not alone.agrees_together:
        row.reason += "; two sequences in one batch of bare llama.cpp are not each alone"
    else:
        assert beside == served
