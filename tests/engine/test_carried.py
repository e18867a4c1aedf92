"""What a step carried beside its interactive streams is told in bits."""

from dataclasses import dataclass

import numpy as np
import pytest

from umad.engine.execution import carried_by
from umad.step import (
    CARRIED_BACKGROUND,
    CARRIED_COPY,
    CARRIED_EMBEDDING,
    CARRIED_OTHER_WORK,
    CARRIED_PROMPT,
    DecodeSlice,
    GuessSlice,
    HouseKept,
    PrefillSlice,
    StepPlan,
)


@dataclass(frozen=True)
class Guarded:
    """All that is asked of a stream."""

    guarded: bool


READER, INDEX, NEWCOMER = 1, 2, 3
STREAMS = {READER: Guarded(True), INDEX: Guarded(False), NEWCOMER: Guarded(True)}
NOTHING = HouseKept()


def row(rid: int) -> DecodeSlice:
    return DecodeSlice(rid=rid, seq=rid, position=9, token=5)


def guesses(rid: int) -> GuessSlice:
    return GuessSlice(rid=rid, seq=rid, start=10, tokens=(1, 2, 3))


def piece(rid: int, n_tokens: int = 4) -> PrefillSlice:
    tokens = np.zeros(n_tokens, dtype=np.int32)
    return PrefillSlice(rid=rid, seq=rid, start=0, tokens=tokens, wants_logits=False)


@pytest.mark.parametrize(
    ("plan", "house", "told"),
    [
        (StepPlan(decode=(row(READER),)), NOTHING, (0, 0)),
        (StepPlan(decode=(row(READER), row(INDEX))), NOTHING, (1, CARRIED_BACKGROUND)),
        (
            StepPlan(decode=(row(READER),), prefill=(piece(INDEX),)),
            NOTHING,
            (4, CARRIED_BACKGROUND),
        ),
        (StepPlan(decode=(row(READER),), prefill=(piece(NEWCOMER),)), NOTHING, (0, CARRIED_PROMPT)),
        (
            StepPlan(decode=(row(READER), row(INDEX)), prefill=(piece(INDEX), piece(NEWCOMER))),
            NOTHING,
            (5, CARRIED_BACKGROUND | CARRIED_PROMPT),
        ),
        (StepPlan(decode=(row(READER),)), HouseKept(copied_bytes=1), (0, CARRIED_COPY)),
        (StepPlan(decode=(row(READER),), guesses=(guesses(READER),)), NOTHING, (0, 0)),
        (
            StepPlan(decode=(row(INDEX),), guesses=(guesses(INDEX),)),
            NOTHING,
            (4, CARRIED_BACKGROUND),
        ),
    ],
)
def test_rows_slices_and_copies_are_told_apart(
    plan: StepPlan, house: HouseKept, told: tuple[int, int]
) -> None:
    assert carried_by(plan, STREAMS, house) == told


def test_what_is_computed_ahead_is_background_work() -> None:
    plan = StepPlan(decode=(row(READER),), prefill=(piece(-1),))

    assert carried_by(plan, STREAMS, NOTHING) == (4, CARRIED_BACKGROUND)


def test_a_prompt_is_no_other_work_and_everything_else_is() -> None:
    assert CARRIED_OTHER_WORK & CARRIED_PROMPT == 0
    assert CARRIED_OTHER_WORK == CARRIED_BACKGROUND | CARRIED_COPY | CARRIED_EMBEDDING
