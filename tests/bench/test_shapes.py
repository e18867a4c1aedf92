"""The random weights of generated models."""

import numpy as np
import pytest

from bench import shapes


def drawn(name: str, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    tensor = shapes._Tensor(name=name, rows=64, columns=256, std=0.5)
    return shapes._random(tensor, seed)


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
    tensors = list(shapes._tensors(shapes.SHAPES["qwen2-0.5b"]))

    assert sum(tensor.size_bytes for tensor in tensors) == pytest.approx(525e6, rel=0.01)
