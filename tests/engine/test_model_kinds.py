"""Models that are unlike most: what would end the engine is refused in a line, and states count.

kv_type q8 where answers are compared: equal tokens then give equal bits, however they were sliced
(see bench/determinism.py).
"""

from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engine.harness import engine, submit
from tests.engine.tiny_models import (
    N_VOCAB,
    POSITIONS,
    STATE_BYTES,
    write_gpt2,
    write_mamba,
    write_t5,
)
from tests.live import live_daemon
from tests.models.gguf_bytes import gguf
from umad.client import Client
from umad.config import EngineSettings
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.fitting import Fitting, fit
from umad.errors import ModelLoadFailed, ModelTooLarge

PROMPT = tuple(3 + at % (N_VOCAB - 3) for at in range(POSITIONS + 50))


def test_an_encoder_decoder_model_is_refused_in_a_line_and_the_daemon_lives_on(
    tmp_path: Path,
) -> None:
    path = write_t5(tmp_path / "t5.gguf")
    with live_daemon(tmp_path) as daemon, Client(daemon.socket) as client:
        with pytest.raises(ModelLoadFailed) as caught:
            client.load(str(path))
        answer = client.complete("def f(", max_tokens=2, temperature=0.0)

    assert "is an encoder-decoder model (t5)" in caught.value.message
    assert "\n" not in caught.value.message
    assert answer


def test_a_file_that_llama_cpp_aborts_at_costs_one_line_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "no_layers.gguf"
    path.write_bytes(
        gguf(
            {
                "general.architecture": "llama",
                "llama.context_length": 512,
                "llama.embedding_length": 64,
                "llama.block_count": 0,
            },
            [("token_embd.weight", (32,), 0, 128)],
        )
    )
    with live_daemon(tmp_path) as daemon, Client(daemon.socket) as client:
        with pytest.raises(ModelLoadFailed) as caught:
            client.load(str(path))
        answer = client.complete("def f(", max_tokens=2, temperature=0.0)

    assert "the engine ended while loading: signal SIGABRT" in caught.value.message
    assert "GGML_ASSERT" in caught.value.message
    assert "\n" not in caught.value.message
    assert answer


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gpt2(tmp_path_factory.mktemp("gpt2") / "gpt2.gguf")


def test_a_text_longer_than_a_models_positions_is_refused_and_the_engine_lives(gpt2: Path) -> None:
    with engine(gpt2, ctx_size=1024, kv_type="q8") as running:
        facts = running.ready()
        too_long = running.generate(1, prompt_ids=PROMPT)
        asks_too_much = running.generate(2, prompt_ids=PROMPT[:200], max_tokens=100)
        within = running.generate(3, prompt_ids=PROMPT[:200], max_tokens=57, ignore_eos=True)
        fitted = running.generate(
            4, prompt_ids=PROMPT[:200], max_tokens=100, fit=True, ignore_eos=True
        )

    assert facts["text_tokens"] == POSITIONS
    assert too_long.refusal.code == "prompt_too_long"
    assert asks_too_much.refusal.code == "prompt_too_long"
    assert "more than the 256 positions" in asks_too_much.refusal.message
    assert len(within.ids) == 57  # the last one is never computed
    assert fitted.ids == within.ids


def test_the_pool_may_be_larger_than_one_texts_positions(gpt2: Path) -> None:
    with engine(gpt2, ctx_size=1024, kv_type="q8") as running:
        running.ready()
        alone = running.generate(1, prompt_ids=PROMPT[:190], max_tokens=20, ignore_eos=True).ids
        running.send(
            *(
                submit(rid, prompt_ids=PROMPT[:190], max_tokens=20, ignore_eos=True)
                for rid in (2, 3, 4)
            )
        )
        together = [done.ids for done in running.finish(2, 3, 4)]

    assert together == [alone] * 3


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mamba(tmp_path_factory.mktemp("mamba") / "mamba.gguf")


# The heaps of two processes that do the same differ by less.
HEAP_BYTES = 2_000_000


def test_states_are_as_large_in_memory_as_is_said(mamba: Path) -> None:
    resident, said = [], []
    for max_seqs in (1, 49):
        with engine(mamba, max_seqs=max_seqs) as running:
            facts = running.ready()
            running.generate(1, prompt_ids=PROMPT[:20])
            resident.append(psutil.Process(running.process.pid).memory_info().rss)
            said.append(facts["max_seqs"] * facts["seq_bytes"])
            assert facts["state_bytes"] == pytest.approx(STATE_BYTES, rel=0.01)
            assert facts["kv_cell_bytes"] == 0

    # What a step works in holds the states of one layer once more.
    assert said[1] - said[0] == pytest.approx(48 * STATE_BYTES, rel=0.01)
    grown = said[1] - said[0]
    assert grown - HEAP_BYTES <= resident[1] - resident[0] <= 1.7 * grown


def test_unless_told_a_model_with_small_states_gets_as_many_streams_as_any(mamba: Path) -> None:
    with engine(mamba, max_seqs=None) as running:
        facts = running.ready()

    assert facts["max_seqs"] == 64


@pytest.mark.parametrize("kind", ["cells", "states"])
def test_there_may_be_more_streams_than_a_step_has_tokens(
    nano_path: Path, mamba: Path, kind: str
) -> None:
    model = nano_path if kind == "cells" else mamba
    with engine(model, batch=16, ubatch=8, max_seqs=64) as running:
        running.ready()
        running.send(*(submit(rid, prompt_ids=PROMPT[: 5 + rid]) for rid in range(1, 25)))
        done = running.finish(*range(1, 25))

    assert all(one.ending.reason in ("length", "stop") for one in done)


def fitted(path: Path, **settings: Any) -> Fitting:
    llama.start()
    engine_settings = EngineSettings(ctx_size=1024, gpu_layers=0, threads=1, **settings)
    return fit(EngineOptions(name="model", path=str(path), engine=engine_settings), ())


def test_a_small_machine_chooses_fewer_streams_and_refuses_more_with_figures(
    mamba: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umad.engine.llamacpp.fitting.memory_bytes", lambda: 150_000_000)

    chosen = fitted(mamba)
    with pytest.raises(ModelTooLarge) as caught:
        fitted(mamba, max_seqs=200)

    # A tenth of 150 MB, and no state for a sequence that is nobody's.
    each = chosen.memory.seq_bytes + chosen.memory.seq_compute_bytes
    assert chosen.n_streams == 15_000_000 // each
    assert chosen.context.max_seqs == chosen.n_streams
    assert "MB for the states of 200 streams (1.1 MB each)" in caught.value.message
    assert "--max-seqs" in caught.value.message
