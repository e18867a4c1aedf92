"""The random weights of generated models."""

from pathlib import Path

import numpy as np
import pytest

from bench import shapes, weights
from bench.cold import ColdLibrary
from tests.models.byte_vocabulary import add_vocabulary

N_VOCAB = 384


def drawn(name: str, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    tensor = weights.Tensor(name=name, rows=64, columns=256, std=0.5)
    return weights.drawn(tensor, seed)


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert np.array_equal(drawn("blk.0.ffn_up.weight", 1), drawn("blk.0.ffn_up.weight", 1))


def test_tensors_and_seeds_differ() -> None:
    first = drawn("blk.0.ffn_up.weight", 1)

    assert not np.array_equal(first, drawn("blk.1.ffn_up.weight", 1))
    assert not np.array_equal(first, drawn("blk.0.ffn_up.weight", 2))


def test_blocks_decode_to_finite_weights_of_the_asked_for_size() -> None:
    blocks = drawn("blk.0.ffn_up.weight", 1).reshape(-1, 34).view(np.uint8)

    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    values = blocks[:, 2:].copy().view(np.int8)

    assert values.min() >= -127
    assert (scales * values).std() == pytest.approx(0.5, rel=0.02)


def test_the_published_shape_has_the_published_size() -> None:
    tensors = list(shapes.SHAPES["qwen2-0.5b"].tensors(shapes.VOCABULARY_TOKENS))

    assert sum(tensor.size_bytes for tensor in tensors) == pytest.approx(525e6, rel=0.01)


def test_halves_of_bytes_decode_to_weights_of_the_asked_for_size() -> None:
    tensor = weights.Tensor(
        name="blk.0.ffn_up_exps.weight", rows=64, columns=256, std=0.05, experts=4, form="mxfp4"
    )
    blocks = weights.drawn(tensor, 1).reshape(-1, 17).view(np.uint8)

    values = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12])
    halves = np.stack([blocks[:, 1:] & 15, blocks[:, 1:] >> 4])
    decoded = values[halves] * 2.0 ** (blocks[:, :1].astype(int) - 128)

    assert weights.drawn(tensor, 1).shape == (4, 64, 256 // 32 * 17)
    assert decoded.std() == pytest.approx(0.05, rel=0.02)


def test_states_decay() -> None:
    tensor = weights.Tensor(name="blk.0.ssm_a", rows=1, columns=64, std=0.7, mean=0.7, decays=True)

    assert weights.drawn(tensor, 1).max() < 0


@pytest.mark.parametrize("name", shapes.HYBRIDS_AND_WINDOWS)
def test_a_hybrid_or_window_model_has_the_size_in_its_name(name: str) -> None:
    tensors = list(shapes.SHAPES[name].tensors(shapes.VOCABULARY_TOKENS))

    billions = sum(tensor.n_weights for tensor in tensors) / 1e9
    assert billions == pytest.approx(float(name.rpartition("-")[2].removesuffix("b")), abs=0.05)


@pytest.mark.parametrize("name", shapes.TINY_HYBRIDS_AND_WINDOWS)
def test_the_library_loads_a_shape_and_its_greedy_tokens_vary(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.gguf"
    shapes.write(shapes.SHAPES[name], path, seed=0, vocabulary=add_vocabulary, n_vocab=N_VOCAB)
    library = ColdLibrary(path, n_cells=512, threads=1)
    prompt = np.random.default_rng(3).integers(3, N_VOCAB, 200).tolist()

    ids = library.greedy(prompt, 32)
    library.close()

    assert len(set(ids)) > 16
