"""Answers that end at a line, as editors ask llama-server for them: n_indent, t_max_predict_ms."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.gateways import LiveGateway
from umad.gateway.dialects.llamacpp.line_ends import EndedByLines, LineEnd
from umad.gateway.generation import Heard
from umad.request import Timings, Usage
from umad.service import Done, Tokens

# Text as a model writes it behind a cursor, and what is left of it with an indentation of 4.
INDENTED: dict[str, tuple[str, str]] = {
    "one line, however it begins": ("x = 1", "x = 1"),
    "a line as far in": ("x\n    y", "x\n    y"),
    "a line farther in": ("x\n        y", "x\n        y"),
    "a line that comes back": ("x\n  y\nz", "x\n  "),
    "a line at the margin": ("x\n    y\nz", "x\n    y\n"),
    "tabs count as one blank each": ("x\n\ty", "x\n\t"),
    "four tabs": ("x\n\t\t\t\ty", "x\n\t\t\t\ty"),
    "an empty line": ("x\n\n    y", "x\n"),
    "blanks that no word has followed yet": ("x\n  ", "x\n  "),
}


def cut(pieces: Sequence[str], end: LineEnd) -> str:
    """What of a stream is kept; the answer ends with the first piece that ends it."""
    found = ""
    for piece in pieces:
        found += end.kept(piece, 0.0)
        if end.is_over:
            break
    return found


@pytest.mark.parametrize("meant", INDENTED)
def test_an_answer_ends_before_a_line_that_is_indented_less(meant: str) -> None:
    text, kept = INDENTED[meant]

    assert cut([text], LineEnd(n_indent=4)) == kept


@given(st.lists(st.sampled_from(["a", " ", "\n", "\t", "  b", "\n    c"])), st.integers(1, 5))
def test_it_does_not_matter_how_the_text_is_cut_into_pieces(
    pieces: list[str], n_indent: int
) -> None:
    at_once = cut(["".join(pieces)], LineEnd(n_indent=n_indent))

    assert cut(pieces, LineEnd(n_indent=n_indent)) == at_once
    assert cut("".join(pieces), LineEnd(n_indent=n_indent)) == at_once


def test_after_its_time_an_answer_ends_with_the_line_that_is_written() -> None:
    end = LineEnd(most_s=1.0)

    kept = [end.kept(text, at) for text, at in (("a\n", 5.0), ("b\n", 6.0), ("c", 6.5))]
    assert not end.is_over
    kept += [end.kept("d\n", 6.6)]

    assert end.is_over
    assert "".join(kept) == "a\nb\ncd\n"


def test_of_a_piece_that_goes_on_behind_its_last_line_the_lines_are_kept() -> None:
    end = LineEnd(most_s=1.0)

    kept = [end.kept(text, at) for text, at in (("a", 0.0), ("b\nc\nd", 2.0))]

    assert "".join(kept) == "ab\nc\n"


USAGE = Usage(prompt_tokens=3, cached_tokens=0, completion_tokens=9)
TIMINGS = Timings(queued_ms=0.0, first_token_ms=1.0, total_ms=2.0)


class Stopping:
    """A generation of several completions that writes on until it is cancelled."""

    def __init__(self, *events: Heard) -> None:
        self._events = events
        self.n_cancelled = 0

    async def cancel(self) -> None:
        self.n_cancelled += 1

    async def __aiter__(self) -> AsyncIterator[Heard]:
        for event in self._events:
            yield event

    def ended(self, n: int) -> list[Heard]:
        async def run() -> list[Heard]:
            ends = [LineEnd(n_indent=4) for _ in range(n)]
            return [
                one async for one in EndedByLines(self, ends, cancel=self.cancel, now_s=lambda: 0.0)
            ]

        return asyncio.run(run())


def words(text: str, index: int = 0) -> Tokens:
    return Tokens(index=index, text=text, ids=(1,))


def end_of(index: int = 0) -> Done:
    return Done(index=index, finish_reason="cancelled", usage=USAGE, timings=TIMINGS)


def test_what_the_model_writes_behind_the_end_is_not_shown_and_it_is_told_to_stop() -> None:
    generation = Stopping(words("x\n"), words("y"), words("z"), end_of())

    heard = generation.ended(1)

    assert heard == [words("x\n"), words(""), replace(end_of(), finish_reason="length")]
    assert generation.n_cancelled == 1


def test_a_request_goes_on_while_one_of_its_completions_does() -> None:
    generation = Stopping(
        words("x\ny"), words("x", 1), words("more"), words("\n    y", 1), words("\n", 1), end_of(1)
    )

    heard = generation.ended(2)

    assert [one.text for one in heard if isinstance(one, Tokens)] == ["x\n", "x", "\n    y", "\n"]
    assert generation.n_cancelled == 1, "once the other one has ended"


# -- on nano ---------------------------------------------------------------------------------------

# A model that cannot write anything else.
BLOCK = r'root ::= "    a\n    b\nc\nd\ne"'
# More lines than any time allows.
LINES = r'root ::= ("ab\n"){500}'


def asked(gateway: LiveGateway, path: str, **body: Any) -> dict[str, Any]:
    """The answer, put together again where it was streamed."""
    gap = {"input_prefix": "a = 1\n", "input_suffix": "\n", "prompt": ""}
    whole = {"temperature": 0, **(gap if path == "/infill" else {"prompt": "once"}), **body}
    with gateway.http() as http:
        answer = http.post(path, json=whole)
    assert answer.status_code == 200, answer.text
    if not body.get("stream"):
        found: dict[str, Any] = answer.json()
        return found
    lines = [one for one in answer.text.splitlines() if one.startswith("data: ")]
    events = [json.loads(one.removeprefix("data: ")) for one in lines]
    return {**events[-1], "content": "".join(one["content"] for one in events)}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/infill", "/completion"])
def test_a_block_ends_where_its_indentation_does(
    gateway: LiveGateway, path: str, stream: bool
) -> None:
    said = asked(gateway, path, grammar=BLOCK, n_indent=4, n_predict=64, stream=stream)

    assert said["content"] == "    a\n    b\n"
    assert (said["stop"], said["stop_type"], said["has_new_line"]) == (True, "limit", True)
    assert said["tokens_evaluated"] > 0
    assert said["timings"]["predicted_n"] == said["tokens_predicted"] > 0


@pytest.mark.parametrize("path", ["/infill", "/completion"])
def test_after_its_time_an_answer_is_whole_lines(gateway: LiveGateway, path: str) -> None:
    said = asked(gateway, path, grammar=LINES, t_max_predict_ms=1, n_predict=1500)

    lines = said["content"].splitlines(keepends=True)
    assert 1 <= len(lines) < 500
    assert set(lines) == {"ab\n"}
    assert said["stop_type"] == "limit"


def test_no_line_ends_an_answer_where_the_rules_are_off(gateway: LiveGateway) -> None:
    off = {"n_indent": 0, "t_max_predict_ms": -1}
    said = asked(gateway, "/completion", grammar=BLOCK, n_predict=64, **off)

    assert said["content"] == "    a\n    b\nc\nd\ne"
    assert said["stop_type"] == "eos"


def test_nothing_runs_on_behind_an_answer_that_a_line_has_ended(gateway: LiveGateway) -> None:
    gateway.until_idle()
    asked(gateway, "/completion", grammar=LINES, t_max_predict_ms=1, n_predict=1500)

    with gateway.http() as http:
        slots = http.get("/slots").json()
    assert not any(one["is_processing"] for one in slots)
