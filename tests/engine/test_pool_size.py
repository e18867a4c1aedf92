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
    taken: int = 0,
    park: int = 0,
) -> int:
    return pool_cells(
        lambda n_cells: fixed_bytes + n_cells * cell_bytes,
        trained_tokens=trained,
        stream_tokens=asked,
        weights_bytes=weights_bytes,
        available_bytes=memory,
        taken_bytes=taken,
        park_bytes=park,
    )


def test_one_text_of_the_models_whole_length_has_room_where_three_quarters_hold_it() -> None:
    assert chosen(memory=64 * GB) == 131_072
    assert chosen(memory=32 * GB) == 131_072  # 1 + 5 + 17.2 of 24 GB


def test_agents_get_64k_cells_where_a_models_texts_are_shorter() -> None:
    assert chosen(trained=32_768, memory=20 * GB) == GOOD_CELLS


def test_a_large_machine_gives_more_texts_within_a_quarter_of_its_memory() -> None:
    cells = chosen(memory=128 * GB)

    assert cells > 131_072
    assert GB + cells * LLAMA_8B <= 32 * GB < GB + (cells + 2048) * LLAMA_8B


def test_what_other_models_take_and_what_was_promised_to_parking_is_not_there() -> None:
    assert chosen(memory=32 * GB, taken=6 * GB) < chosen(memory=32 * GB)
    assert chosen(memory=32 * GB, park=5 * GB) == chosen(memory=32 * GB)  # beside the quarter
    assert chosen(memory=32 * GB, park=12 * GB) < chosen(memory=32 * GB)


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
