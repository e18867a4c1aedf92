"""What everybody pays for what is only kept in the pool, and when it has to move out for it.

ggml's attention on a CPU passes every row over every cell up to the highest in use, its own or not:
beside 8,100 cells of others a row takes 20 % longer, eight rows 39 %, a prompt 37 % (0.5B model,
two cores). So what an ended request leaves behind owes rent: for every row of every step, what
passing over its cells took. Once it owes as much as moving out and back would cost, it moves out,
to host memory where that is cheaper than computing it again (`parking`). Who comes back soon has
owed little, and who never does has cost no more than twice the best that could have been known
before (the ski-rental bound, Karlin et al. 1988). An engine that rests owes nothing.
Pure; owner: the step thread.
"""

from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.costs.tiles import ATTENTION_ROWS
from umad.scheduler.memory.parking import Parker
from umad.scheduler.memory.residency import Residency

# Where rows fill the attention's tiles, each passes over a cell in this share of the time.
TILED_SHARE = 0.3
# Accounts are looked at after so many rows; in so few nobody owes much.
LOOK_EVERY_ROWS = 32.0


class Rent:
    """skip_ms: what one row pays to pass over one cell; 0 where devices skip them by the block."""

    def __init__(
        self, *, skip_ms: float, residency: Residency, parker: Parker, copying: CopyCost
    ) -> None:
        self._skip_ms = skip_ms
        self._residency = residency
        self._parker = parker
        self._copying = copying
        self._looked_rows = 0.0

    def charge(self, n_rows: int) -> None:
        """A step of so many rows has run."""
        if self._skip_ms:
            share = TILED_SHARE if n_rows >= ATTENTION_ROWS else 1.0
            self._residency.rows_passed += share * n_rows

    def collect(self) -> bool:
        """Have those that owe too much copied, and evict who has been; whether some were."""
        residency = self._residency
        if residency.rows_passed < self._looked_rows + LOOK_EVERY_ROWS:
            return False
        self._looked_rows = residency.rows_passed
        leaving = []
        for seq in residency.retained():
            owed_ms = self._skip_ms * residency.passed_over(seq)
            tokens = residency.retained_tokens(seq)
            if tokens is None or not owed_ms:
                continue
            if self._parker.is_copied(seq):
                if owed_ms >= self._copying.copy_ms(tokens.size):
                    leaving.append(seq)
            elif (
                owed_ms >= 2 * self._copying.copy_ms(tokens.size)
                and self._parker.has_room_for(seq)
                and self._parker.ask(seq)
            ):
                continue
            elif residency.session_of(seq) is None and owed_ms >= self._copying.rebuild_ms(
                tokens.size
            ):
                # A conversation is never computed again for the room it takes.
                leaving.append(seq)
        for seq in leaving:
            residency.evict(seq)
        return bool(leaving)
