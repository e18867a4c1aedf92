"""Prompts and the models they are drawn for."""

from pathlib import Path

from bench import models
from bench.prompts import Prompts


def test_prompts_share_no_prefix_and_stay_in_the_vocabulary() -> None:
    prompts = Prompts(5000, seed=0)

    drawn = [prompts.draw(60) for _ in range(200)]

    assert len({tuple(prompt[:4]) for prompt in drawn}) == 200
    assert all(0 <= token < 5000 for prompt in drawn for token in prompt)


def test_every_benchmark_with_a_seed_sees_the_same_prompts() -> None:
    assert Prompts(5000, seed=3).draw(60) == Prompts(5000, seed=3).draw(60)


def test_the_model_that_ships_can_be_measured() -> None:
    model = models.path("nano")

    assert model.is_file()
    assert 0 < models.text_tokens(model) < 151_643
    assert models.path("/some/where.gguf") == Path("/some/where.gguf")
