"""The benchmark of an editor: what it types, and what it makes of the waits."""

import pytest

from bench.editor import ALONE, BESIDE, Keys, cursors, file_of, ratio
from umad.infill.cut import cut_around


def test_each_key_is_a_file_with_the_cursor_behind_it() -> None:
    places = list(cursors(["a", "b"], 0, "x\ny"))

    assert places == [
        (["a", "x", "b"], 1, 1),
        (["a", "x", "", "b"], 2, 0),
        (["a", "x", "y", "b"], 2, 1),
    ]


def test_a_file_has_as_many_lines_as_asked_for() -> None:
    assert len(file_of(600, 0)) == 600


def test_windows_share_no_beginning_of_a_prompt_and_all_around_the_cursor() -> None:
    first, second = file_of(600, 0), file_of(600, 1)

    beginnings = [
        cut_around(file.__getitem__, len(file), line, 0).before.split("\n", 1)[0]
        for file in (first, second)
        for line in range(300, 303)
    ]
    assert beginnings == ["# window 00"] * 3 + ["# window 01"] * 3
    assert first[257:320] == second[257:320]


def test_the_ratio_is_of_the_slow_keys() -> None:
    alone = Keys(condition=ALONE, waits_ms=(100.0,) * 20, new_tokens=(500,) * 20)
    beside = Keys(condition=BESIDE, waits_ms=(100.0,) * 10 + (150.0,) * 10, new_tokens=(500,) * 20)

    assert ratio(alone, beside) == pytest.approx(1.5)
