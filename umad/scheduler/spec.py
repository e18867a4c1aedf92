"""Holds the values that a scheduler is made from. `assembly.assemble` makes it. Values only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from umad.config import LaneSettings, SchedulerSettings
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.embeds.queue import ONE_TEXT, EmbedShape
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.memory.windows import Beginnings
from umad.scheduler.speculation.drafting import DraftShape
from umad.scheduler.steps.traffic_budget import TrafficBudget, TrafficModel


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSpec:
    """One engine's scheduler. The last fields are the engine's abilities; each has a default."""

    # Cells of the KV pool, shared by all sequences.
    n_cells: int
    # Sequence numbers: running requests and retained prefixes together.
    max_seqs: int
    # Most tokens of one step.
    batch_tokens: int
    settings: SchedulerSettings
    # The interactive p95 may be so many times solo. An app may have its own cap.
    latency_cap: float
    lanes: Mapping[str, LaneSettings]
    # A request may take over the beginning of another sequence's cells.
    can_share_prefix: bool = True
    # The places at which another sequence's beginning may end. "states": only at the sequence's
    # present end, and where a checkpoint of its state was taken.
    shares_at: Literal["anywhere", "states"] = "anywhere"
    # Tells which sequences still have their beginnings, for a model with windows; None for a model
    # without.
    beginnings: Beginnings | None = None
    # Costs learnt before; None to begin with guesses.
    cost: CostModel | None = None
    # Bytes that a step moves; None where that is not known.
    traffic: TrafficModel | None = None
    # The byte budget; None for none.
    budget: TrafficBudget | None = None
    # The share of a step that an arrival waits for, if it may cut it: 0 where the device looks for
    # one all the time, 1 where steps run to their end.
    cut_share: float = 0.0
    # Milliseconds to save the state of one sequence before a step, so that the step may be cut
    # though a cut spoils recurrent states. None where such a model's steps are never cut. Other
    # models need no such save.
    cut_save_ms: float | None = None
    # Host memory for the cells that the pool gives up; None for none.
    parking: ParkShape | None = None
    # Milliseconds that a row takes to scan past a cell that is not its own. Above 0, retained
    # sequences owe rent, and the cells that background work leaves are evicted at its app's next
    # request.
    skip_ms: float = 0.0
    # Tokens of the sessions on disk by name; None where sessions are not saved.
    saved: Mapping[str, NDArray[np.int32]] | None = None
    # After how many tokens the states in those sessions' files were taken, ascending. Sessions
    # whose files hold no state may be missing.
    saved_states: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    # The most that one embedding decode may hold.
    embeds: EmbedShape = ONE_TEXT
    # Requests that say so may have several tokens verified in one step.
    speculates: bool = False
    # The draft model that guesses tokens; None for none.
    draft: DraftShape | None = None
    # Whether the rows of a request's run of a medium are at hand (request, run); None where there
    # are no media.
    has_rows: Callable[[int, int], bool] | None = None
    # The most rows of one step whose logits tell how probable a prompt's tokens are.
    most_scored_rows: int = 16

    @property
    def can_verify(self) -> bool:
        """True if steps may have guesses. A sequence has to be as it was without the guesses that
        did not hold, so its end must be removable. A state is that of all its tokens, and a window
        has lost what the guesses pushed out."""
        can_shorten = self.shares_at == "anywhere" and self.beginnings is None
        return self.speculates and self.can_share_prefix and can_shorten

    @property
    def priority(self) -> dict[str, int]:
        """Priority of each lane."""
        return {name: lane.priority for name, lane in self.lanes.items()}
