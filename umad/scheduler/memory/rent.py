"""Evicts idle KV cells once scanning past them has cost more than moving them to host memory.

ggml's attention on a CPU scans every cell up to the highest in use for every row, also the cells of
other sequences. Beside 8,100 cells of others a row takes 20 % longer, eight rows 39 %, a prompt
37 % (0.5B model, two cores). So the cells that an ended request leaves behind owe rent: the time
that each row of each step spends on scanning past them. Once a sequence owes as much as a copy to
host memory and back would cost, it is moved there (`parking`), or dropped where computing it again
is cheaper. A sequence that is used again soon has owed little. One that is never used again has
cost at most twice what the best choice would have cost, had it been known beforehand (the
ski-rental bound, Karlin et al. 1988). While the engine rests, no rent is owed.

Pure; owner: the step thread.
"""

from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.costs.tiles import ATTENTION_ROWS
from umad.scheduler.memory.parking import Parker
from umad.scheduler.memory.residency import Residency

# Where rows fill the attention's tiles, each row scans past a cell in this share of the time.
TILED_SHARE = 0.3
# The accounts are looked at once in so many rows. In fewer rows no sequence comes to owe much.
LOOK_EVERY_ROWS = 32.0


class Rent:
    """Charges rent for idle cells, and collects it.

    skip_ms: milliseconds that one row takes to scan past one cell; 0 on a device that skips cells
    by the block.
    """

    def __init__(
        self, *, skip_ms: float, residency: Residency, parker: Parker, copying: CopyCost
    ) -> None:
        self._skip_ms = skip_ms
        self._residency = residency
        self._parker = parker
        self._copying = copying
        self._looked_rows = 0.0

    def charge(self, n_rows: int) -> None:
        """Book that a step of `n_rows` rows has run."""
        if self._skip_ms:
            share = TILED_SHARE if n_rows >= ATTENTION_ROWS else 1.0
            self._residency.pass_rows(share * n_rows)

    def collect(self) -> bool:
        """Have the sequences that owe too much copied, and evict those that are copied. Return
        whether some were evicted."""
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
                # Only sequences without a session are dropped like this: a conversation must not
                # be computed again just because of the room it takes.
                leaving.append(seq)
        for seq in leaving:
            residency.evict(seq)
        return bool(leaving)
