"""The completion core keeps to the table of cases that its twin in TypeScript keeps to.

`adapters/vscode/test/cases.test.ts` reads the same file.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from umad.infill.cut import Cut, cut_around
from umad.infill.manner import manner_of
from umad.infill.prompt import FimTokens, Gap, prompt_ids
from umad.infill.recent import RecentAnswers
from umad.infill.trim import trimmed

TABLE = json.loads((Path(__file__).parents[2] / "adapters" / "infill-cases.json").read_text())
N_PREDICT = TABLE["n_predict"]


def cases(kind: str) -> pytest.MarkDecorator:
    """Each case of a kind, by what it says."""
    return pytest.mark.parametrize("case", TABLE[kind], ids=lambda case: case.get("says"))


def cut_of(text: str) -> Cut:
    """The cut at the cursor, which stands in `text` as |."""
    before, _, after = text.partition("|")
    lines = (before + after).split("\n")
    line = before.count("\n")
    return cut_around(lines.__getitem__, len(lines), line, len(before) - before.rfind("\n") - 1)


@cases("cut")
def test_the_text_around_the_cursor_is_cut_out(case: Mapping[str, Any]) -> None:
    if "text" in case:
        cut = cut_of(case["text"])

        assert (cut.before, cut.after) == (case["before"], case["after"])
        return
    looked_at: list[int] = []

    def line_at(number: int) -> str:
        looked_at.append(number)
        return f"line {number}"

    cut = cut_around(line_at, case["lines"], *case["at"])

    assert cut.before.split("\n")[0] == case["first"]
    assert cut.after.split("\n")[-1] == case["last"]
    assert len(looked_at) <= 256 + 1 + 64, "work must not grow with the file"


@cases("endless")
def test_the_beginning_of_an_endless_line_is_left_out_in_strides(case: Mapping[str, Any]) -> None:
    line = "x" * case["chars"]

    cut = cut_around(lambda _: line, 1, 0, len(line))

    assert len(cut.before) == case["before_chars"]


@cases("manner")
def test_a_key_asks_for_one_line_or_several_or_for_nothing(case: Mapping[str, Any]) -> None:
    manner = manner_of(
        cut_of(case["text"]),
        lines=case.get("lines", "auto"),
        is_automatic=case.get("automatic", True),
    )

    is_ = None if manner is None else "single" if manner.is_single else "multi"
    assert is_ == case["is"]


@cases("trim")
def test_what_stands_behind_the_cursor_is_not_shown_twice(case: Mapping[str, Any]) -> None:
    shown = trimmed(case["answer"], cut_of(case["text"]), is_single=case.get("single", False))

    assert shown == case["shown"]


@cases("recent")
def test_an_answer_holds_while_it_is_typed(case: Mapping[str, Any]) -> None:
    recent = RecentAnswers(case["most"]) if "most" in case else RecentAnswers()
    for text, answer in case["keep"]:
        recent.keep("scope", cut_of(text), answer)
    for text in case.get("use", ()):
        recent.find("scope", cut_of(text))
    for text, answer in case.get("then", ()):
        recent.keep("scope", cut_of(text), answer)

    found = recent.find(case.get("scope", "scope"), cut_of(case["find"]))

    assert found == case["is"]


async def letters(text: str) -> tuple[int, ...]:
    return tuple(ord(letter) for letter in text)


def ids_of(gap: Gap, marks: Mapping[str, int], cells: int) -> tuple[int, ...]:
    return asyncio.run(
        prompt_ids(gap, FimTokens(**marks), letters, cells=cells, n_predict=N_PREDICT)
    )


@cases("prompt")
def test_the_prompt_has_the_models_own_marks(case: Mapping[str, Any]) -> None:
    gap = Gap(
        before=case["before"],
        after=case["after"],
        name=case.get("name", ""),
        project=case.get("project", ""),
    )

    assert ids_of(gap, case["marks"], case["cells"]) == tuple(case["ids"])


@cases("window")
def test_the_prompt_is_cut_to_the_window_in_strides(case: Mapping[str, Any]) -> None:
    gap = Gap(before="b" * case["before"], after="a" * case["after"])

    ids = ids_of(gap, {"prefix": -1, "suffix": -2, "middle": -3}, case["cells"])

    assert ids.count(ord("b")) == case["before_tokens"]
    assert ids.count(ord("a")) == case["after_tokens"]
