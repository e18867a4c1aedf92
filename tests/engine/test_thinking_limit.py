"""A thinking that has taken as many tokens as it may is closed in the model's own form."""

import pytest

from umad.engine.constraints.thinking_limit import ThinkingLimit, ThinkingMarks

# Each token is one of these pieces.
PIECES = [
    b"<think>",
    b"</think>",
    b"a",
    b"\n",
    b"<|channel|>",
    b"analysis",
    b"final",
    b"commentary",
    b"<|message|>",
    b"<|end|>",
    b"<|start|>",
    b"assistant",
]
OPEN, CLOSE, WORD, LINE, CHANNEL, ANALYSIS, FINAL, COMMENTARY, MESSAGE, END, START, ROLE = range(12)
TAGS = ThinkingMarks(opening=b"<think>", closing=b"</think>", end=(LINE, CLOSE, LINE))
HARMONY = ThinkingMarks(
    opening=b"<|channel|>analysis<|message|>",
    closing=b"<|end|>",
    end=(END, START, ROLE, CHANNEL),
    instead=(CHANNEL,),
    then=(FINAL, COMMENTARY),
    again=True,
)
THOUGHT = [CHANNEL, ANALYSIS, MESSAGE]


def limit(marks: ThinkingMarks, most: int, *, opened: bool = False) -> ThinkingLimit:
    return ThinkingLimit(
        marks, most_tokens=most, opened=opened, piece_of=PIECES.__getitem__, n_vocab=len(PIECES)
    )


def drawn(one: ThinkingLimit, wanted: list[int], n: int = 40) -> list[int]:
    """The tokens of a model that wants these, and then words for ever."""
    tokens: list[int] = []
    for at in range(n):
        token = wanted[at] if at < len(wanted) else WORD
        allowed = one.allowed()
        if allowed is not None and token not in allowed:
            assert allowed.few is not None
            token = int(allowed.few[0])
        one.accept(token)
        tokens.append(token)
    return tokens


CASES: dict[str, tuple[ThinkingMarks, int, bool, list[int], list[int]]] = {
    "the prompt opened the thinking": (TAGS, 3, True, [], [*[WORD] * 3, LINE, CLOSE, LINE, WORD]),
    "the model opens it itself": (TAGS, 2, False, [OPEN], [OPEN, WORD, WORD, LINE, CLOSE, LINE]),
    "blank lines before it": (TAGS, 1, False, [LINE, OPEN], [LINE, OPEN, WORD, LINE, CLOSE]),
    "no thinking at all, opened": (TAGS, 0, True, [], [LINE, CLOSE, LINE, WORD]),
    "no thinking at all, not opened": (TAGS, 0, False, [OPEN], [OPEN, LINE, CLOSE, LINE, WORD]),
    "an end before the limit": (TAGS, 9, True, [WORD, CLOSE], [WORD, CLOSE, *[WORD] * 20]),
    "an answer that does without": (TAGS, 1, False, [WORD], [WORD] * 20),
    "an answer that quotes the mark": (TAGS, 1, False, [WORD, OPEN], [WORD, OPEN, *[WORD] * 9]),
    "harmony": (
        HARMONY,
        2,
        False,
        THOUGHT,
        [*THOUGHT, WORD, WORD, END, START, ROLE, CHANNEL, FINAL],
    ),
    "harmony, thinking twice": (
        HARMONY,
        2,
        False,
        [*THOUGHT, WORD, END, START, ROLE, *THOUGHT],
        [*THOUGHT, WORD, END, START, ROLE, *THOUGHT, END],
    ),
    "harmony that calls a tool then": (
        HARMONY,
        1,
        False,
        [*THOUGHT, WORD, 0, 0, 0, 0, COMMENTARY, 8],
        [*THOUGHT, WORD, END, START, ROLE, CHANNEL, COMMENTARY, MESSAGE],
    ),
    "harmony without thinking": (HARMONY, 0, False, THOUGHT, [CHANNEL, FINAL, MESSAGE]),
}


@pytest.mark.parametrize("meant", CASES)
def test_the_thinking_ends_with_its_budget(meant: str) -> None:
    marks, most, opened, wanted, expected = CASES[meant]

    assert drawn(limit(marks, most, opened=opened), wanted)[: len(expected)] == expected


@pytest.mark.parametrize("meant", CASES)
@pytest.mark.parametrize("after", [1, 3, 5, 7])
def test_a_restarted_engine_goes_on_where_the_dead_one_stood(meant: str, after: int) -> None:
    marks, most, opened, wanted, _ = CASES[meant]
    tokens = drawn(limit(marks, most, opened=opened), wanted)

    again = limit(marks, most, opened=opened)
    again.start(tokens[:after])

    assert drawn(again, wanted[after:], 40 - after) == tokens[after:]


@pytest.mark.parametrize("meant", CASES)
def test_what_is_told_to_be_forced_is_what_comes(meant: str) -> None:
    marks, most, opened, wanted, _ = CASES[meant]
    tokens = drawn(limit(marks, most, opened=opened), wanted)
    told = limit(marks, most, opened=opened)

    for at in range(20):
        forced = told.forced()
        assert forced == tuple(tokens[at : at + len(forced)])
        told.accept(tokens[at])


def test_the_end_of_a_thinking_is_told_at_once() -> None:
    assert limit(TAGS, 0, opened=True).forced() == (LINE, CLOSE, LINE)
    assert limit(TAGS, 1, opened=True).forced() == ()
