"""How many cells a pool has where nobody says."""

import pytest

from umad.engine.llamacpp.pool_size import GOOD_CELLS, MOST_CELLS, pool_cells

GB = 10**9
LLAMA_8B = 131_072  # bytes of a cell
WEIGHTS = 5 * GB


def chosen(
    *,
    cell_bytes: int = LLAMA_8B,
    trained: int = 131_072,
    asked: int | None = None,
    weights_bytes: int = WEIGHTS,
    memory: int = 64 * GB,
    fixed_bytes: int = GB,
) -> int:
    return pool_cells(
        lambda n_cells: fixed_bytes + n_cells * cell_bytes,
        trained_tokens=trained,
        stream_tokens=asked,
        weights_bytes=weights_bytes,
        available_bytes=memory,
    )


def test_agents_get_64k_cells_where_they_fit() -> None:
    assert chosen(memory=20 * GB) == GOOD_CELLS


def test_a_large_machine_gives_more_within_a_quarter_of_its_memory() -> None:
    cells = chosen(memory=64 * GB)

    assert cells > GOOD_CELLS
    assert GB + cells * LLAMA_8B <= 16 * GB < GB + (cells + 2048) * LLAMA_8B


def test_a_small_machine_gets_what_three_quarters_of_its_memory_hold() -> None:
    cells = chosen(memory=12 * GB)

    assert 4096 < cells < GOOD_CELLS
    assert WEIGHTS + GB + cells * LLAMA_8B <= 9 * GB


def test_where_nothing_fits_a_few_cells_are_tried_and_refused_by_the_memory_check() -> None:
    assert chosen(memory=4 * GB) == 4096


@pytest.mark.parametrize(("trained", "cells"), [(512, 2048), (4096, 16_384), (16_384, 65_536)])
def test_nobody_needs_more_than_four_of_the_longest_texts(trained: int, cells: int) -> None:
    assert chosen(trained=trained, memory=1024 * GB) == cells


def test_a_file_that_names_no_length_gets_64k() -> None:
    assert chosen(trained=0, memory=1024 * GB) == GOOD_CELLS


def test_a_model_of_states_alone_has_a_bound_all_the_same() -> None:
    assert chosen(cell_bytes=0, trained=10**7) == MOST_CELLS


def test_one_text_of_the_length_that_was_asked_for_always_has_room() -> None:
    assert chosen(memory=12 * GB, asked=100_000) == 100_000
    assert chosen(trained=4096, asked=20_000) == 20_000
