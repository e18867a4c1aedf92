"""Holds what an engine's steps did and where it stands, as a part of the link. A value."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStats:
    """Facts of the steps since the last `StepStats`. `_total` fields count from the start."""

    # From the first step's plan to now, on the machine's monotonic clock.
    began_ns: int = 0
    ended_ns: int = 0
    # The decode calls alone.
    device_ms: float = 0.0
    # How long the engine's threads were ready to run while other processes had the cores, summed
    # and divided by the threads of a decode.
    coreless_ms: float = 0.0
    n_decode: int = 0
    n_prefill_tokens: int = 0
    n_background_tokens: int = 0
    # Weights touched, KV read and written, logits.
    bytes_moved: int = 0
    cells_live: int = 0
    cells_retained: int = 0
    cells_total: int = 0
    running: int = 0
    # Requests not yet admitted, by lane.
    waiting: Mapping[str, int] = field(default_factory=dict)
    parked: int = 0
    cuts_total: int = 0
    preemptions_total: int = 0
    prompt_tokens_total: int = 0
    cached_tokens_total: int = 0
    sampled_total: int = 0
    copied_rows_total: int = 0
    # How often rows of logits were copied before a token was drawn from them, by the library, too.
    row_copies_total: int = 0
    # As in `umad.scheduler.snapshot`: guesses of next tokens, what a change of adapters takes, and
    # what a cut takes.
    guess_steps_total: int = 0
    guesses_held_total: int = 0
    speculation_gain: float = 0.0
    adapter_switch_ms: float = 0.0
    cut_ms: float = 0.0
    # Runs of rows (an image, one of its tiles, half a minute of a sound): those that were encoded,
    # and those of prompts whose rows or cells were at hand. And the time of the encoder's turns.
    media_encoded_total: int = 0
    media_reused_total: int = 0
    encode_us_total: int = 0
    # Why requests wait, in words, by rid; None where that was reported a moment ago.
    waits: Mapping[int, str] | None = None
    # The token at which the prompts of an app change from turn to turn, by the app's name.
    prompt_changes: Mapping[str, int] = field(default_factory=dict)
