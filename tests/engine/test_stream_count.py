from pathlib import Path
from typing import Any

import pytest

from umad.engine.llamacpp.memory_check import check_memory
from umad.engine.llamacpp.stream_count import FEW_STREAMS, MOST_STREAMS, stream_count
from umad.errors import ModelTooLarge

MB, GB = 10**6, 10**9
PATH = Path("/models/hybrid.gguf")
STATE = 157 * MB  # of Qwen3.5-27B


def count(asked: int | None = None, **changes: Any) -> int:
    values: dict[str, Any] = {
        "seq_bytes": STATE,
        "n_scratch": 0,
        "left_bytes": 40 * GB,
        "machine_bytes": 64 * GB,
        **changes,
    }
    return stream_count(asked, **values)


def test_streams_that_keep_nothing_are_64() -> None:
    assert count(seq_bytes=0, left_bytes=0) == MOST_STREAMS


def test_states_get_a_tenth_of_the_machines_memory() -> None:
    assert count() == 6_400 // 157
    assert count(machine_bytes=1024 * GB, left_bytes=900 * GB) == MOST_STREAMS


def test_a_small_machine_still_gets_a_few_streams_while_there_is_room() -> None:
    assert count(machine_bytes=4 * GB, left_bytes=2 * GB) == FEW_STREAMS
    assert count(machine_bytes=4 * GB, left_bytes=2 * STATE) == 2


def test_where_not_even_one_fits_one_is_tried_and_refused_by_the_memory_check() -> None:
    assert count(left_bytes=-GB) == 1


def test_the_sequence_that_is_nobodys_has_a_state_too() -> None:
    assert count(machine_bytes=4 * GB, left_bytes=3 * STATE, n_scratch=1) == 2


def test_what_was_asked_for_is_not_changed() -> None:
    assert count(64) == 64
    assert count(64, left_bytes=0) == 64


def test_the_number_that_memory_chose_is_said_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", "umad.engine"):
        count()

    (line,) = caplog.messages
    assert line == "streams=40 of 64: each keeps 157.0 MB, used or not; with max_seqs you choose"


def test_more_streams_than_fit_are_refused_with_figures_and_how_many_would() -> None:
    with pytest.raises(ModelTooLarge) as caught:
        check_memory(
            file_bytes=16 * GB,
            kv_bytes=537 * MB,
            available_bytes=24 * GB,
            path=PATH,
            cells=8192,
            seq_bytes=STATE,
            n_seqs=64,
        )

    message = caught.value.message
    assert "10048 MB for the states of 64 streams (157.0 MB each)" in message
    assert "--max-seqs 39" in message
    assert "\n" not in message


def test_a_state_alone_can_be_too_much() -> None:
    with pytest.raises(ModelTooLarge, match="--ctx-size"):
        check_memory(
            file_bytes=16 * GB,
            kv_bytes=6 * GB,
            available_bytes=24 * GB,
            path=PATH,
            cells=8192,
            seq_bytes=STATE * 10,
            n_seqs=1,
        )
