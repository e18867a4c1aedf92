"""Counts which KV cells belong to which sequences, exactly as llama.cpp's unified pool does.

A sequence is a chain of segments. A segment is a run of positions whose cells are shared by its
holders: `llama_memory_seq_cp` shares cells, it does not copy them. A cell is free when no sequence
holds it.

Not: which request gets cells (`residency`).
Owner: the step thread.
"""

from dataclasses import dataclass, field

from umad.errors import InternalError


class LedgerViolation(InternalError):
    """A caller asked for more cells than there are, or copied into a sequence that is not empty."""


@dataclass(slots=True, eq=False)
class _Segment:
    n_cells: int
    holders: set[int] = field(default_factory=set)


class KvLedger:
    """Accounts for the cells of one pool of `n_cells` cells."""

    def __init__(self, n_cells: int) -> None:
        self.n_cells = n_cells
        self.used_cells = 0
        self._chains: dict[int, list[_Segment]] = {}
        self._lengths: dict[int, int] = {}

    @property
    def free_cells(self) -> int:
        """Cells that no sequence holds."""
        return self.n_cells - self.used_cells

    def length(self, seq: int) -> int:
        """How many tokens `seq` holds, including those it shares."""
        return self._lengths.get(seq, 0)

    def sequences(self) -> tuple[int, ...]:
        """Every sequence that holds cells."""
        return tuple(self._chains)

    def grow(self, seq: int, n_cells: int) -> None:
        """Give `seq` `n_cells` free cells at its end."""
        if n_cells > self.free_cells:
            raise LedgerViolation(f"{n_cells} cells wanted, {self.free_cells} free")
        if n_cells <= 0:
            return
        chain = self._chains.setdefault(seq, [])
        if chain and len(chain[-1].holders) == 1:
            chain[-1].n_cells += n_cells
        else:
            chain.append(_Segment(n_cells, {seq}))
        self._lengths[seq] = self._lengths.get(seq, 0) + n_cells
        self.used_cells += n_cells

    def share(self, source: int, target: int, n_cells: int) -> None:
        """Let the empty sequence `target` hold the first `n_cells` of `source` too. Takes no free
        cell."""
        if self._chains.get(target):
            raise LedgerViolation(f"sequence {target} is not empty")
        if n_cells > self.length(source):
            raise LedgerViolation(f"sequence {source} holds fewer than {n_cells} cells")
        if n_cells <= 0:
            return
        shared = self._chains[source][: self._split(source, n_cells)]
        for segment in shared:
            segment.holders.add(target)
        self._chains[target] = list(shared)
        self._lengths[target] = n_cells

    def trim(self, seq: int, keep_cells: int) -> int:
        """Take everything after its first `keep_cells` from `seq`; return how many cells became
        free."""
        if keep_cells >= self.length(seq):
            return 0
        chain = self._chains[seq]
        keep = self._split(seq, keep_cells)
        freed = 0
        for segment in chain[keep:]:
            segment.holders.discard(seq)
            if not segment.holders:
                freed += segment.n_cells
        del chain[keep:]
        if chain:
            self._lengths[seq] = keep_cells
        else:
            del self._chains[seq], self._lengths[seq]
        self.used_cells -= freed
        return freed

    def reclaimable(self, sequences: set[int]) -> int:
        """Cells that would be free if all of `sequences` were emptied."""
        seen: set[int] = set()
        total = 0
        for seq in sequences:
            for segment in self._chains.get(seq, ()):
                if id(segment) not in seen and segment.holders <= sequences:
                    seen.add(id(segment))
                    total += segment.n_cells
        return total

    def reclaimable_prefix(self, seq: int, n_cells: int, sequences: set[int]) -> int:
        """How many of the first `n_cells` of `seq` are held by members of `sequences` only."""
        total, left = 0, n_cells
        for segment in self._chains.get(seq, ()):
            if left <= 0:
                break
            if segment.holders <= sequences:
                total += min(left, segment.n_cells)
            left -= segment.n_cells
        return total

    def _split(self, seq: int, at_cells: int) -> int:
        """Make a segment border at `at_cells` of `seq`'s chain; return its index in the chain."""
        if at_cells <= 0:
            return 0
        reached = 0
        chain = self._chains[seq]
        for index, segment in enumerate(chain):
            reached += segment.n_cells
            if reached == at_cells:
                return index + 1
            if reached > at_cells:
                rest = _Segment(reached - at_cells, set(segment.holders))
                segment.n_cells -= rest.n_cells
                for holder in segment.holders:
                    other = self._chains[holder]
                    other.insert(other.index(segment) + 1, rest)
                return index + 1
        return len(chain)
