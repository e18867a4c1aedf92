"""What the step loop makes of arrivals, ends, cut and failed steps: each stream gets its own."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine.served_loop import FakeRunner, Served, arrival, counting, one_hot
from umad.errors import EngineFailed
from umad.protocol.link import CancelOrder
from umad.request import BACKGROUND
from umad.step import SeqTrim


def test_a_stream_gets_its_tokens_its_text_and_one_end() -> None:
    served = Served(FakeRunner(), arrival(1))

    assert served.ids(1) == [15, 16, 17, 18, 19, 10]
    assert served.text(1) == "pqrstk"
    (ended,) = served.ended(1)
    assert (ended.reason, ended.completion_tokens, ended.prompt_tokens) == ("length", 6, 5)


def test_an_end_token_ends_the_stream_and_is_no_text() -> None:
    def rows(rid: int, position: int) -> NDArray[np.float32]:
        return one_hot(2) if position == 7 else counting(rid, position)

    served = Served(FakeRunner(rows), arrival(1))

    assert served.ids(1) == [15, 16, 2]
    assert served.text(1) == "pq"
    assert served.ended(1)[0].reason == "stop"


def test_a_stop_string_ends_the_stream_with_the_very_token_that_completes_it() -> None:
    served = Served(FakeRunner(), arrival(1, stops=("rs",)))

    assert served.ids(1) == [15, 16, 17, 18]
    assert served.text(1) == "pq"
    (ended,) = served.ended(1)
    assert (ended.reason, ended.stop, ended.completion_tokens) == ("stop", "rs", 4)


def test_text_held_back_for_a_stop_string_that_never_came_is_sent_at_the_end() -> None:
    served = Served(FakeRunner(), arrival(1, max_tokens=3, stops=("rx",)))

    assert served.text(1) == "pqr"
    assert served.ended(1)[0].stop is None


def test_a_row_that_is_not_a_number_fails_its_request_and_no_other() -> None:
    def rows(rid: int, position: int) -> NDArray[np.float32]:
        row = counting(rid, position)
        if rid == 2 and position == 7:
            row[5] = np.nan
        return row

    served = Served(FakeRunner(rows), arrival(1), arrival(2), arrival(3))

    (rejected,) = served.rejected(2)
    assert rejected.code == "internal"
    assert served.ids(2) == [15, 16]
    assert served.ended(2) == []
    assert served.ids(1) == served.ids(3) == [15, 16, 17, 18, 19, 10]


def test_a_cut_step_loses_nothing_and_is_counted() -> None:
    calm = Served(FakeRunner(), arrival(1, 100, lane=BACKGROUND))

    cut = Served(FakeRunner(outcomes=("cut", "cut")), arrival(1, 100, lane=BACKGROUND))

    assert cut.ids(1) == calm.ids(1)
    assert [r.stats.cuts_total for r in cut.reports if r.stats][-1] == 2
    assert sum(r.stats.n_prefill_tokens for r in cut.reports if r.stats) == 100


def test_after_a_cut_the_pool_is_brought_back_to_what_the_books_say() -> None:
    runner = FakeRunner(outcomes=("cut",))

    Served(runner, arrival(1, 100, lane=BACKGROUND))

    assert isinstance(runner.memory[0], SeqTrim)
    assert runner.memory[0].keep_tokens == 0


def test_a_step_that_finds_no_cells_is_made_again() -> None:
    served = Served(FakeRunner(outcomes=("no_memory",)), arrival(1))

    assert served.ids(1) == [15, 16, 17, 18, 19, 10]


def test_an_error_of_llama_cpp_ends_the_loop_with_its_reason() -> None:
    with pytest.raises(EngineFailed, match="-3"):
        Served(FakeRunner(outcomes=("done", "fatal")), arrival(1))


def test_what_does_not_fit_the_pool_is_refused_while_others_run() -> None:
    served = Served(FakeRunner(), arrival(1), arrival(2, 600))

    assert served.rejected(2)[0].code == "prompt_too_long"
    assert served.ended(1)[0].reason == "length"


def test_a_cancelled_stream_gets_exactly_one_end() -> None:
    served = Served(
        FakeRunner(), arrival(1), CancelOrder(rid=1), CancelOrder(rid=1), CancelOrder(rid=99)
    )

    (ended,) = served.ended(1)
    assert ended.reason == "cancelled"
    assert served.ended(99) == []


def test_progress_counts_prompt_tokens_up_to_all_of_them() -> None:
    served = Served(FakeRunner(), arrival(1, 150))

    progress = [p for report in served.reports for p in report.prefilled]
    assert [p.done_tokens for p in progress] == sorted(p.done_tokens for p in progress)
    assert progress[-1].done_tokens == progress[-1].total_tokens == 150


def test_background_tokens_are_counted_apart() -> None:
    served = Served(FakeRunner(), arrival(1, 20, lane=BACKGROUND), arrival(2, 30))

    stats = [report.stats for report in served.reports if report.stats is not None]
    assert sum(one.n_prefill_tokens for one in stats) == 50
    # The whole prompt of one and its decode rows; the first token comes with the prompt.
    assert sum(one.n_background_tokens for one in stats) == 20 + 5
    assert stats[-1].running == 0
