"""nano in the measures of a larger model, by the bare library."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import models, widened
from bench.cold import ColdLibrary
from umad import nano

SMALL = widened.MEASURES["nano-small"]
# A text in nano's own tokens; they are the first ones of the wider model, too.
TOKENS = [(37 * at) % 900 + 300 for at in range(60)]


def rows_of(path: Path) -> NDArray[np.float32]:
    """Log-probabilities behind each token: float32 (tokens, vocabulary)."""
    library = ColdLibrary(path, n_cells=256, threads=1)
    try:
        found = library.rows(TOKENS, range(len(TOKENS)))
        return np.stack([found[at] for at in range(len(TOKENS))])
    finally:
        library.close()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "nano-small.gguf"
    widened.write(SMALL, path)
    return path


def test_it_answers_as_nano_does(wide: Path) -> None:
    own, wider = rows_of(nano.path()), rows_of(wide)
    n_own = own.shape[1]

    assert wider.shape[1] == SMALL.n_vocab > n_own
    likely = np.argsort(own, axis=1)[:, -8:]
    moved = np.take_along_axis(wider, likely, 1) - np.take_along_axis(own, likely, 1)
    assert np.abs(moved).max() < 0.2, "what rounding leaves"
    assert wider[:, n_own:].max() < -20, "tokens that nano has not never come"


def test_it_has_the_weights_of_the_larger_model(wide: Path) -> None:
    width, layers = SMALL.width, SMALL.layers
    kv_width = width // SMALL.heads * SMALL.kv_heads
    block = 2 * width * width + 2 * kv_width * width + 3 * SMALL.ffn_width * width
    weights = SMALL.n_vocab * width + layers * block

    assert wide.stat().st_size == pytest.approx(weights * 34 / 32, rel=0.05)


def test_a_benchmark_finds_it_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMAD_BENCH_DIR", str(tmp_path))

    path = models.path("nano-small")

    assert path == models.path("nano-small")
    assert models.text_tokens(path) == SMALL.n_vocab
