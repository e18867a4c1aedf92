"""Answers of the bare library, and how a server's are held against them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from bench import cold, shapes
from bench.cold import ColdLibrary, Question
from tests.models.byte_vocabulary import add_vocabulary

N_VOCAB = 384


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ColdLibrary]:
    path = tmp_path_factory.mktemp("cold") / "hybrid.gguf"
    shape = shapes.SHAPES["tiny-qwen35"]
    shapes.write(shape, path, seed=0, vocabulary=add_vocabulary, n_vocab=N_VOCAB)
    made = ColdLibrary(path, n_cells=1024, threads=1)
    yield made
    made.close()


def asked(library: ColdLibrary, prompt: list[int], n_tokens: int = 8) -> Question:
    ids = library.greedy(prompt, n_tokens)
    row = library.rows(prompt, [len(prompt) - 1])[len(prompt) - 1]
    top = np.argsort(row)[-20:].tolist()
    return Question(
        prompt=tuple(prompt), answer=tuple(ids), first={one: float(row[one]) for one in top}
    )


def prompt(seed: int, n_tokens: int) -> list[int]:
    return [int(one) for one in np.random.default_rng(seed).integers(3, N_VOCAB, n_tokens)]


def test_the_library_agrees_with_itself(library: ColdLibrary) -> None:
    first = asked(library, prompt(1, 300))
    second = asked(library, [*first.prompt, *first.answer, *prompt(2, 20)])
    alone = asked(library, prompt(3, 40))

    found = cold.verdicts(library, [first, second, alone])

    assert all(one.holds and one.same == one.n for one in found)


def test_an_answer_to_another_prompt_does_not_hold(library: ColdLibrary) -> None:
    right, other = asked(library, prompt(1, 300)), asked(library, prompt(4, 300))
    wrong = Question(prompt=right.prompt, answer=other.answer, first=other.first)

    found, also = cold.verdicts(library, [wrong, right])

    assert not found.holds
    assert found.same < found.n
    assert also.holds


class Stumbling:
    """A library whose third token behind a long prompt comes out otherwise."""

    ends: tuple[int, ...] = ()
    SHORT, MOVED_NATS = 10, 0.5

    def rows(self, tokens: Sequence[int], wanted: Sequence[int], *, slice_: int = 512) -> cold.Rows:
        first = min(wanted)
        moved = first + 3 if first >= self.SHORT else -1
        return {at: np.array([0.0, self.MOVED_NATS * (at == moved)], np.float32) for at in wanted}

    def likeliest(self, row: cold.Row) -> int:
        return int(row.argmax())


def test_an_answer_that_was_read_anew_is_held_against_what_that_moves_by_itself() -> None:
    library = cast(ColdLibrary, Stumbling())
    plain = Question(prompt=(1,) * 5, answer=(0,) * 30, first={0: 0.0, 1: 0.0})
    anew = replace(plain, anew=(8,))

    assert cold.verdicts(library, [plain])[0].bound == 0.0
    assert cold.verdicts(library, [anew])[0].bound == Stumbling.MOVED_NATS


def test_a_prompt_that_begins_another_is_not_computed_twice() -> None:
    sequences = [(1, 2, 3), (7, 8), (1, 2, 3, 4, 5), (1, 9)]

    assert list(cold._together(sequences)) == [
        ((1, 2, 3, 4, 5), [2, 0]),
        ((7, 8), [1]),
        ((1, 9), [3]),
    ]
