"""Says what it costs to make a step one that may be cut, where a cut spoils a recurrent state.

Half a step leaves a recurrent state at no position at all. So the state of the step's sequence is
saved before the step, and put back after a cut. That pays for a long step only, and for a step of
one sequence only: llama.cpp moves the states of other sequences while it computes several, and a
cut could lose those, too.

Not: the length of slices (`slice_size`), how a state is saved (`umad.engine.llamacpp.cut_state`).
Pure; owner: the step thread.
"""

from dataclasses import dataclass

# A step may be cut if saving the state before it takes at most this share of its time.
MOST_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class CutCost:
    """The price of steps that may be cut, on one model."""

    # Milliseconds to save the state of one sequence: 0 where a cut spoils nothing, infinite where
    # no step may be cut.
    save_ms: float = 0.0

    @property
    def saves(self) -> bool:
        """Whether a step that may be cut needs a saved state."""
        return self.save_ms > 0

    def of(self, start: int) -> float:
        """Milliseconds of the save before a slice that begins at position `start`. An empty
        sequence has no state, and is simply emptied again."""
        return self.save_ms if start or self.save_ms == float("inf") else 0.0

    def pays(self, step_ms: float, start: int) -> bool:
        """Whether a step of so many milliseconds may be cut, for what that costs."""
        return self.of(start) <= MOST_SHARE * step_ms


FREE_CUTS = CutCost()
