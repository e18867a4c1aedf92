"""Says how many cells the layers with a sliding window get where they do not get the whole pool.

llama.cpp keeps these cells apart (llama-kv-cache-iswa.cpp): the window of each sequence, and room
for one micro-batch, and never more than the pool has. So a sequence costs a window, used or not,
until the windows together are as large as the pool; from there on another one costs nothing.
Not: measuring the bytes (`context_memory`), choosing how many sequences there are
(`stream_count`). Pure.
"""

from dataclasses import dataclass

from umad.engine.llamacpp.context_options import padded


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowCache:
    """The cells of the layers with a window, apart from the pool."""

    # Bytes of one of these cells, all such layers together.
    cell_bytes: int
    # Cells that are there for any number of sequences: a micro-batch.
    step_cells: int
    # Cells of each sequence: its window. 0 where llama.cpp's rule is not known.
    seq_cells: int
    # There are never more than the pool has.
    pool_cells: int

    def cells(self, n_seqs: int) -> int:
        """The number of cells with so many sequences."""
        return padded(min(self.pool_cells, self.step_cells + n_seqs * self.seq_cells))

    def bytes(self, n_seqs: int) -> int:
        """The bytes of these cells."""
        return self.cells(n_seqs) * self.cell_bytes

    @property
    def seq_bytes(self) -> int:
        """The bytes that one more sequence costs while there are few."""
        return self.seq_cells * self.cell_bytes

    def share(self, n_seqs: int) -> float:
        """The cells with so many sequences, as a share of the pool's."""
        return self.cells(n_seqs) / self.pool_cells

    def is_whole(self, n_seqs: int) -> bool:
        """True if the windows of so many sequences take as many cells as the pool has."""
        return self.cells(n_seqs) >= self.pool_cells
