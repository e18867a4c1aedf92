"""The benchmark of embedding: both sides get the same texts, and make the same vectors."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.embed import BareLoop, Timed, check, measure
from bench.errors import BenchError
from tests.encoders import WIDTH, write_encoder


def test_both_are_asked_for_the_same_texts_which_are_never_asked_twice() -> None:
    asked: dict[str, list[Sequence[str]]] = {"umad": [], "bare loop": []}

    def taking(name: str, took_s: float) -> Callable[[Sequence[str]], Timed]:
        def embed(texts: Sequence[str]) -> Timed:
            asked[name].append(tuple(texts))
            return Timed(wall_s=took_s, cpu_s=1.0, vectors=np.ones((4, 1), np.float32))

        return embed

    found = measure(
        {"umad": taking("umad", 0.5), "bare loop": taking("bare loop", 0.25)},
        n_texts=4,
        words=[3, 9],
        repetitions=2,
        progress=lambda _: None,
    )

    assert asked["umad"] == asked["bare loop"]
    texts = [text for request in asked["umad"] for text in request]
    assert len(set(texts)) == len(texts) == 4 * 3 * 2
    took_s = {name: [one.wall_s for one in each] for name, each in found["9 words"].items()}
    assert took_s == {"umad": [0.5, 0.5], "bare loop": [0.25, 0.25]}


def test_vectors_that_differ_are_no_measurement() -> None:
    with pytest.raises(BenchError, match="differ"):
        check(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)[::-1])


def test_the_bare_loop_makes_a_vector_of_each_text_whatever_shares_its_batch(
    tmp_path: Path,
) -> None:
    bare = BareLoop(write_encoder(tmp_path / "encoder.gguf"), threads=1)
    try:
        texts = [f"text {at} {'and so on ' * (at % 7)}" for at in range(90)]
        together = bare.embed(texts).vectors
        alone = bare.embed(texts[40:41]).vectors
    finally:
        bare.close()

    assert together.shape == (90, WIDTH)
    check(together[40:41], alone)
