"""Holds a scheduler's counts at one moment, for the scorecard. A value; anybody may keep one."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Guessed:
    """Counts of guesses of next tokens."""

    # Steps that had some, and how many of them held, from the start.
    steps_total: int = 0
    accepted_total: int = 0
    # How many times faster the latest such steps were than plain ones, those in which a draft model
    # read among them; 0 for not known.
    gain: float = 0.0


NOTHING_GUESSED = Guessed()


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSnapshot:
    """A scheduler's counts at one moment, for the scorecard. Totals count from the start."""

    cells_live: int
    cells_retained: int
    cells_total: int
    running: int
    waiting: Mapping[str, int] = field(default_factory=dict)
    preemptions_total: int = 0
    parked: int = 0
    parked_bytes: int = 0
    restores_total: int = 0
    saved: int = 0
    prompt_tokens_total: int = 0
    cached_tokens_total: int = 0
    # Media of prompts whose cells were shared or put back.
    media_shared_total: int = 0
    # The token at which the prompts of an app change from turn to turn, by the app's name.
    prompt_changes: Mapping[str, int] = field(default_factory=dict)
    guessed: Guessed = NOTHING_GUESSED
    # How long a change of adapters takes, as it was learnt; 0 for not known.
    adapter_switch_ms: float = 0.0
    # How long an arrival waits for a step that it cuts, as it was learnt; 0 before the first cut.
    cut_ms: float = 0.0
