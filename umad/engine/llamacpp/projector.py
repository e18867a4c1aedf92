"""Encodes images and sounds for one model with its projector (`MediaEncoder`).

The projector is loaded with the first medium, on the device of the model. An encoding runs on a
thread of its own and computes only while the step thread gives it a turn (`EncodeGate`): the two
compute at once only where one node of the encoder takes long. Before that, pixels are made into
what the encoder reads, on idle cores if streams are read meanwhile (`prepared`). A turn waits for
that no longer than it would for the encoder, and steps go on.

Not: which rows are kept (`umad.engine.media.rows`), or when a turn comes (the scheduler). Owner:
the step thread; `layout` may be called on any thread.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from umad.engine.llamacpp.llama import LlamaError, Model
from umad.engine.llamacpp.mtmd import NO_LIMITS, Chunk, MediaLimits, Mtmd
from umad.engine.llamacpp.mtmd import PLACES as PLACES
from umad.engine.llamacpp.prepared import Prepared
from umad.engine.media.encoding import EncodeWork, SizedMedium
from umad.engine.media.facts import MediaFacts
from umad.engine.media.gate import EncodeGate
from umad.engine.media.layout import MediumLayout, RowPiece, TextPiece
from umad.engine.media.rows import Rows
from umad.engine.prctl import name_thread
from umad.engine.process import TENTH_OF_A_CORE, let_others_first
from umad.errors import BadRequest, EngineFailed, ModelLoadFailed
from umad.media.limits import GENTLE_S
from umad.media.medium import Medium
from umad.units import NS_PER_S

log = logging.getLogger("umad.engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorOptions:
    """How a projector is loaded."""

    path: Path
    # Compute on the accelerator, where the model's layers are.
    gpu: bool
    threads: int
    # ggml's name of that accelerator; None for the first.
    device: str | None = None
    limits: MediaLimits = NO_LIMITS


def loaded(model: Model, options: ProjectorOptions, gate: EncodeGate | None = None) -> Mtmd:
    """Load a projector. Raises `ModelLoadFailed`, in one line."""
    try:
        return Mtmd(
            model,
            options.path,
            gpu=options.gpu,
            device=options.device,
            threads=options.threads,
            limits=options.limits,
            watcher=None if gate is None else (gate.wants, gate.passes),
        )
    except LlamaError as error:
        raise ModelLoadFailed(_why_not(options.path, str(error))) from None


def _why_not(path: Path, words: str) -> str:
    if "mismatch between text model" in words:
        found = [one.split(")")[0] for one in words.split("n_embd = ")[1:3]]
        if len(found) == 2:
            return (
                f"{path} is the projector of another model: its rows have {found[1]} numbers, and "
                f"this model's have {found[0]}"
            )
    return f"{path} cannot be loaded: {words}"


class Projector:
    """A model's projector. facts: as a trial found them (`projector_trial`). gentle_s: how long
    idle cores are tried for what the encoder reads."""

    def __init__(
        self,
        model: Model,
        options: ProjectorOptions,
        facts: MediaFacts,
        *,
        now_ns: Callable[[], int],
        gentle_s: float = GENTLE_S,
    ) -> None:
        self.facts = facts
        # Everything that rows depend on besides the medium.
        self.rows_by = f"{facts.fingerprint} {options.limits.words()}"
        self._model = model
        self._options = options
        self._now_ns = now_ns
        self._gentle_s = gentle_s
        self._gate = EncodeGate(now_ns=now_ns)
        # Guards the loading, which the first request's layout begins on its own thread.
        self._lock = threading.Lock()
        self._mtmd: Mtmd | None = None
        self._is_encoding = False
        # Of a medium with runs that are still to be encoded.
        self._prepared: Prepared | None = None
        # What idle cores have not made in time, and are still at.
        self._left: Prepared | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether its weights are in memory."""
        return self._mtmd is not None

    def layout(self, medium: SizedMedium) -> MediumLayout:
        """What stands for a medium; as `MediaEncoder` says."""
        if medium.kind not in self.facts.kinds:
            what = "see images" if medium.kind == "image" else "hear sounds"
            raise BadRequest(f"this model does not {what}", field="messages")
        if medium.kind == "audio" and medium.rate != self.facts.sample_rate:
            raise BadRequest(
                f"a sound of {medium.rate} samples a second; this model hears "
                f"{self.facts.sample_rate}",
                field="messages",
            )
        try:
            with self._ready().chunks(medium, pixels=False) as chunks:
                return MediumLayout(pieces=_pieces(chunks))
        except LlamaError as error:
            raise BadRequest(
                f"this {medium.kind} cannot be read by the model: {error}", field="messages"
            ) from None

    def begin(self, medium: Medium, index: int, *, gently: bool) -> EncodeWork:
        """Begin to encode a run; as `MediaEncoder` says."""
        if self._is_encoding:
            raise EngineFailed("two media are encoded at once")
        self._is_encoding = True
        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared.medium is not medium:
            if prepared is not None:
                self._give_up(prepared)
            # Where the last one is still at it, other programs have the cores, and every medium
            # would leave a thread with its memory.
            is_gentle = gently and (self._left is None or not self._left.is_left)
            gentle_s = self._gentle_s if is_gentle else 0.0
            prepared = Prepared(self._ready(), medium, gentle_s=gentle_s)
        return _Encoding(self, self._ready(), self._gate, prepared, index, gently=gently)

    def ended(self, prepared: Prepared, *, is_last: bool) -> None:
        """The encoding is closed. Other tiles of the same image may follow."""
        self._is_encoding = False
        if is_last:
            self._give_up(prepared)
        else:
            self._prepared = prepared

    def close(self) -> None:
        """Give the projector's memory back; the next medium loads it again."""
        with self._lock:
            if self._mtmd is not None and not self._is_encoding:
                if self._prepared is not None:
                    self._give_up(self._prepared)
                    self._prepared = None
                if self._left is not None:
                    self._left.join()
                    self._left = None
                self._mtmd.close()
                self._mtmd = None

    def _give_up(self, prepared: Prepared) -> None:
        prepared.close()
        if prepared.is_left:
            self._left = prepared

    def _ready(self) -> Mtmd:
        with self._lock:
            if self._mtmd is None:
                began_ns = self._now_ns()
                self._mtmd = loaded(self._model, self._options, self._gate)
                took_ms = (self._now_ns() - began_ns) / 1e6
                log.info("projector loaded path=%s ms=%.0f", self._options.path, took_ms)
            return self._mtmd


def _pieces(chunks: tuple[Chunk, ...]) -> tuple[TextPiece | RowPiece, ...]:
    pieces: list[TextPiece | RowPiece] = []
    n_runs = 0
    for chunk in chunks:
        if chunk.tokens is not None:
            pieces.append(TextPiece(tokens=chunk.tokens))
            continue
        pieces.append(
            RowPiece(
                index=n_runs,
                n_rows=chunk.n_rows,
                n_positions=chunk.n_positions,
                causal=chunk.causal,
                places=chunk.places,
            )
        )
        n_runs += 1
    return tuple(pieces)


class _Encoding:
    """One run on its thread."""

    def __init__(
        self,
        owner: Projector,
        mtmd: Mtmd,
        gate: EncodeGate,
        prepared: Prepared,
        index: int,
        *,
        gently: bool,
    ) -> None:
        """gently: the encoder leaves most of the cores to steps that compute beside it."""
        self._owner = owner
        self._mtmd = mtmd
        self._gate = gate
        self._prepared = prepared
        self._index = index
        self._gently = gently
        self._rows: Rows | None = None
        self._error: Exception | None = None
        gate.prepare()
        self._thread = threading.Thread(target=self._run, name="umad-encode", daemon=True)
        self._thread.start()

    def go_on(self, turn_ns: int, late_ns: int) -> bool:
        """Compute for about so long; as `EncodeWork` says."""
        if not self._prepared.wait(turn_ns / NS_PER_S):
            return False
        if not self._gate.open_for(turn_ns, late_ns):
            return False
        self._thread.join()
        if self._error is not None:
            kind = self._prepared.medium.kind
            raise BadRequest(
                f"this {kind} could not be encoded: {self._error}", field="messages"
            ) from self._error
        return True

    def rows(self) -> Rows:
        """The rows, once it is done."""
        assert self._rows is not None
        return self._rows

    @property
    def computes(self) -> bool:
        """Whether it computes beside steps; as `EncodeWork` says."""
        if self._prepared.wait(0):
            return self._gate.computes
        return self._prepared.computes

    def stop(self, turn_ns: int) -> bool:
        """End it; as `EncodeWork` says."""
        return self._prepared.wait(turn_ns / NS_PER_S) and self._gate.stop(turn_ns)

    def close(self) -> None:
        """End it, and give its memory back."""
        self._gate.stop()
        self._thread.join()
        is_last = self._rows is None or self._index == len(self._prepared.runs()) - 1
        self._owner.ended(self._prepared, is_last=is_last)

    def _run(self) -> None:
        name_thread("umad-encode")
        try:
            runs = self._prepared.runs()
            if self._gently:
                # With a tenth of the cores it makes steps beside a long node no longer than the cap
                # allows. Its team of threads begins in it, and has what it has.
                let_others_first(TENTH_OF_A_CORE)
            self._gate.begin()
            rows = self._mtmd.encode(runs[self._index])
            if self._gate.is_stopped:
                return
            if not np.isfinite(rows).all():
                raise LlamaError("its rows have numbers that are none")
            self._rows = rows
        except Exception as error:  # noqa: BLE001  the step thread raises it
            self._error = error
        finally:
            self._gate.end()
