"""Says how much memory a model takes, part by part, as values. Pure.

The engine reckons them (`umad.engine.llamacpp.estimating`) without reading a weight; `umad
estimate`, the socket and HTTP show them. Not: how anything is reckoned, nor whether a model may be
loaded.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from umad.units import BYTES_PER_MB

# Models may take this share of the memory. The machine needs the rest.
MEMORY_SHARE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPart:
    """One row of an estimate."""

    name: str
    n_bytes: int
    # What the bytes are for, in words.
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """The memory of one model in one shape of context."""

    path: str
    architecture: str
    # The cells of the pool, which all streams share: the tokens that it holds.
    ctx_tokens: int
    # The longest text that the model can read; 0 where its file does not say.
    trained_tokens: int
    # Streams at once.
    n_streams: int
    kv_type: str
    # Weights that have to be in memory.
    weights_bytes: int
    # Experts that are read from the file as they are used, and may be dropped from memory.
    paged_bytes: int = 0
    # Cells of the pool.
    cells_bytes: int = 0
    # Cells of layers that look back over a window, where they are apart from the pool.
    windows_bytes: int = 0
    # What sequences keep for themselves: states of recurrent layers.
    states_bytes: int = 0
    # The memory that a step works in, without its output.
    compute_bytes: int = 0
    # Rows of logits.
    output_bytes: int = 0
    # The weights of a projector.
    projector_bytes: int = 0
    # A draft model: weights, cells and all.
    draft_bytes: int = 0
    # LoRA adapters that were named with the model.
    adapters_bytes: int = 0
    # The engine itself, and its vocabulary.
    process_bytes: int = 0
    # Host memory that parked texts may come to take.
    park_bytes: int = 0
    # One cell of the pool, and of its like that sequences have for themselves.
    token_bytes: int = 0
    # The machine's memory, with that of its accelerators.
    machine_bytes: int = 0
    # The memory that engines of other models take.
    taken_bytes: int = 0
    # The most cells of a pool that has room, with these streams; 0 where there is room for none.
    most_tokens: int = 0
    # The bytes of the weights that are in memory now, put there by whoever read the file last; None
    # where the system does not tell.
    resident_bytes: int | None = None
    # Why a load is refused; "" where it is not.
    refused: str = ""

    @property
    def total_bytes(self) -> int:
        """All that a load takes, without parked texts."""
        return sum(part.n_bytes for part in self.parts)

    @property
    def fits(self) -> bool:
        """True where a load with these options goes well."""
        return not self.refused

    @property
    def parts(self) -> tuple[MemoryPart, ...]:
        """The parts that make up the total; those of no bytes are left out."""
        rows = (
            MemoryPart(name="weights", n_bytes=self.weights_bytes),
            MemoryPart(name="projector", n_bytes=self.projector_bytes),
            MemoryPart(name="draft", n_bytes=self.draft_bytes, words="guesses next tokens"),
            MemoryPart(name="adapters", n_bytes=self.adapters_bytes),
            MemoryPart(
                name="cells",
                n_bytes=self.cells_bytes,
                words=f"{self.ctx_tokens:,} of {self.token_bytes:,} bytes, {self.kv_type}",
            ),
            MemoryPart(
                name="windows", n_bytes=self.windows_bytes, words=f"of {self._streams_words}"
            ),
            MemoryPart(name="states", n_bytes=self.states_bytes, words=f"of {self._streams_words}"),
            MemoryPart(name="compute", n_bytes=self.compute_bytes, words="what a step works in"),
            MemoryPart(name="output", n_bytes=self.output_bytes, words="rows of logits"),
            MemoryPart(
                name="process", n_bytes=self.process_bytes, words="the engine, its vocabulary"
            ),
        )
        return tuple(row for row in rows if row.n_bytes)

    @property
    def fitting(self) -> str:
        """The number of tokens that fit, in one line."""
        if not self.most_tokens:
            return "no context fits"
        return fitting_words(
            self.ctx_tokens if self.fits else self.most_tokens, self.trained_tokens
        )

    def as_map(self) -> dict[str, Any]:
        """Plain values, with the total."""
        return {
            **asdict(self),
            "total_bytes": self.total_bytes,
            "fits": self.fits,
            "fitting": self.fitting,
        }

    @classmethod
    def from_map(cls, values: Mapping[str, Any]) -> "MemoryEstimate":
        """The inverse of `as_map`; what is not known is passed over."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    @property
    def _streams_words(self) -> str:
        return f"{self.n_streams} streams" if self.n_streams != 1 else "1 stream"


def fitting_words(n_cells: int, trained_tokens: int) -> str:
    """The part of the longest text that has room in a pool, in one line.

    trained_tokens: the longest text that the model can read, 0 where that is not known.
    """
    if not trained_tokens:
        return f"{n_cells:,} tokens fit"
    if n_cells < trained_tokens:
        return f"{n_cells:,} of {trained_tokens:,} tokens fit"
    times = n_cells // trained_tokens
    again = f", {times} such texts at once" if times > 1 else ""
    return f"all {trained_tokens:,} tokens fit{again}"


def bytes_words(n_bytes: int) -> str:
    """A number of bytes with its unit, for a person."""
    mb = n_bytes / BYTES_PER_MB
    return f"{mb / 1000:.2f} GB" if mb >= 1000 else f"{mb:.1f} MB" if mb >= 1 else f"{n_bytes:,} B"


def engine_bytes(facts: Mapping[str, Any]) -> int:
    """The memory that a loaded model's engine takes, by its facts: weights, context, and what it
    may park, without experts that stay in the file. 0 for an engine that is not ready yet and has
    told none.
    """
    kept = sum(int(facts.get(name) or 0) for name in ("size_bytes", "context_bytes", "park_bytes"))
    kept += int((facts.get("projector") or {}).get("size_bytes") or 0)
    kept += draft_bytes(facts)
    return max(0, kept - int(facts.get("paged_bytes") or 0))


def draft_bytes(facts: Mapping[str, Any]) -> int:
    """The part of it that a draft model takes."""
    draft = facts.get("draft") or {}
    return sum(int(draft.get(name) or 0) for name in ("size_bytes", "context_bytes"))
