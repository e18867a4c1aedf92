"""Holds the media of live requests: which rows are at hand, and the encoding that is under way.

The scheduler asks `has_rows`, and plans turns and slices; `encode` gives the encoder its turn, and
`rows` hands a slice's rows to the runner. Rows are held from the first slice of their run to the
last, and after that kept for later requests (`RowCache`).

Not: when anything runs (`umad.scheduler.media`). Owner: the step thread.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.engine.media.encoding import EncodeWork, MediaEncoder
from umad.engine.media.files import FileMedium
from umad.engine.media.layout import RowPiece
from umad.engine.media.rows import RowCache, RowKey, Rows
from umad.errors import InternalError, UmadError
from umad.media.medium import Medium
from umad.media_slices import EncodeTurn, RowSlice
from umad.units import MS_PER_S, NS_PER_MS

log = logging.getLogger("umad.engine")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MediumRun:
    """One run of rows of a request."""

    medium: Medium | FileMedium
    piece: RowPiece
    key: RowKey


@dataclass(frozen=True, slots=True, kw_only=True)
class LaidRows:
    """The rows of one slice, and where they lie."""

    # float32 (n, width).
    rows: Rows
    piece: RowPiece
    # int32 (4, n), as `RowPiece.places`, of these rows.
    places: NDArray[np.int32] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """The result of a turn of the encoder."""

    ns: int = 0
    is_done: bool = False
    # The medium cannot be encoded.
    error: UmadError | None = None


NO_TURN = Turned()


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaCounts:
    """Counts of runs of rows, from the start."""

    encoded: int = 0
    # Their rows were at hand.
    reused: int = 0
    # The time of all turns of the encoder.
    encode_ns: int = 0


NO_MEDIA = MediaCounts()


@dataclass(slots=True)
class _Work:
    work: EncodeWork
    key: RowKey
    n_rows: int
    kind: str
    # Its last turn was background work.
    is_bulk: bool = False
    # Nobody wanted its rows any more, so it is being ended.
    is_ending: bool = False


class MediaDesk:
    """The media of one engine. encoder: None for a model without a projector."""

    def __init__(
        self, encoder: MediaEncoder | None, cache: RowCache, *, now_ns: Callable[[], int]
    ) -> None:
        self._encoder = encoder
        # Told of the medium that is about to be computed, and "" once it is done: if the process
        # ends between, it is known why.
        self.tell: Callable[[str], None] = lambda _: None
        self.cache = cache
        self._n_encoded = self._encode_ns = 0
        self._now_ns = now_ns
        self._runs: dict[int, tuple[MediumRun, ...]] = {}
        # The runs whose rows are held: (request, run).
        self._held: dict[tuple[int, int], RowKey] = {}
        self._work: _Work | None = None
        # A file that is decoded once more, since its pixels were not kept.
        self._decoding: tuple[tuple[int, int], Future[Medium]] | None = None
        self._decoders = ThreadPoolExecutor(1, thread_name_prefix="umad-pixels")

    def take(self, rid: int, runs: Sequence[MediumRun]) -> None:
        """A request has come."""
        if runs:
            self._runs[rid] = tuple(runs)

    def leave(self, rid: int) -> None:
        """A request has ended. An encoding that runs for it is ended at its next turn, unless
        another request waits for the same rows."""
        for run in range(len(self._runs.pop(rid, ()))):
            self._let_go(rid, run)

    def has_rows(self, rid: int, run: int) -> bool:
        """Whether the rows of a request's run are at hand."""
        runs = self._runs.get(rid)
        return runs is not None and runs[run].key in self.cache

    @property
    def counts(self) -> MediaCounts:
        """What was encoded so far, and what needed not be."""
        return MediaCounts(
            encoded=self._n_encoded, reused=self.cache.hits, encode_ns=self._encode_ns
        )

    @property
    def computes(self) -> bool:
        """Whether an encoder computes beside steps: a part of its work takes long."""
        return self._work is not None and self._work.work.computes

    @property
    def computes_bulk(self) -> bool:
        """Whether it does so as background work."""
        return self.computes and self._work is not None and self._work.is_bulk

    def encode(self, turn: EncodeTurn) -> Turned:
        """Give the encoder its turn."""
        turned = self._turned(turn)
        self._encode_ns += turned.ns
        return turned

    def _turned(self, turn: EncodeTurn) -> Turned:
        began_ns = self._now_ns()
        try:
            if self._work is None and not self._begin(turn):
                return Turned(ns=self._now_ns() - began_ns)
            assert self._work is not None
            work, turn_ns = self._work, int(turn.ms * NS_PER_MS)
            work.is_ending = work.is_ending or not self._is_wanted(work.key)
            work.is_bulk = turn.bulk
            if work.is_ending:
                is_done = work.work.stop(turn_ns)
            else:
                is_done = work.work.go_on(turn_ns, int(turn.late_ms * NS_PER_MS))
            if is_done and not work.is_ending:
                self._keep(turn, work)
        except UmadError as error:
            self._end()
            return Turned(ns=self._now_ns() - began_ns, is_done=True, error=error)
        if is_done:
            self._end()
        return Turned(ns=self._now_ns() - began_ns, is_done=is_done)

    def rows(self, piece: RowSlice) -> LaidRows:
        """The rows of a slice. Those of its run are held from now on until `laid` ends it."""
        run = self._runs[piece.rid][piece.run]
        held = (piece.rid, piece.run)
        if held not in self._held:
            if not self.cache.take(run.key):
                raise InternalError("rows of a medium are to be computed and are not there")
            self._held[held] = run.key
        self.tell(run.key.content_id)
        part = slice(piece.offset, piece.offset + piece.n_cells)
        places = run.piece.places
        return LaidRows(
            rows=self.cache.rows(run.key)[part],
            piece=run.piece,
            places=None if places is None else places[:, part],
        )

    def laid(self, piece: RowSlice) -> None:
        """The rows of a slice were computed."""
        self.tell("")
        runs = self._runs.get(piece.rid)
        if runs is not None and piece.offset + piece.n_cells == runs[piece.run].piece.n_rows:
            self._let_go(piece.rid, piece.run)

    def close(self) -> None:
        """Give everything back. What is being encoded is ended."""
        self._end()
        self._decoders.shutdown(cancel_futures=True)
        if self._encoder is not None:
            self._encoder.close()

    def _is_wanted(self, key: RowKey) -> bool:
        """Whether a live request has this run."""
        return any(run.key == key for runs in self._runs.values() for run in runs)

    def _begin(self, turn: EncodeTurn) -> bool:
        """Begin an encoding. False where its pixels are not there yet."""
        runs = self._runs.get(turn.rid)
        if runs is None or self._encoder is None:
            raise InternalError("a medium is to be encoded that no request has")
        run = runs[turn.run]
        medium = self._pixels(turn, run.medium)
        if medium is None:
            return False
        self.tell(run.key.content_id)
        work = self._encoder.begin(medium, run.piece.index, gently=turn.beside_readers)
        self._work = _Work(work, run.key, run.piece.n_rows, medium.kind)
        return True

    def _pixels(self, turn: EncodeTurn, medium: Medium | FileMedium) -> Medium | None:
        """The pixels of a medium, if they come within the turn."""
        if isinstance(medium, Medium) or medium.medium is not None:
            return medium if isinstance(medium, Medium) else medium.medium
        if self._decoding is None or self._decoding[0] != (turn.rid, turn.run):
            self._decoding = (turn.rid, turn.run), self._decoders.submit(medium.decoded)
        try:
            decoded = self._decoding[1].result(turn.ms / MS_PER_S)
        except TimeoutError:
            return None
        except UmadError:
            self._decoding = None
            raise
        self._decoding = None
        return decoded

    def _keep(self, turn: EncodeTurn, done: _Work) -> None:
        rows = done.work.rows()
        if rows.shape[0] != done.n_rows:
            raise InternalError(f"a medium has {rows.shape[0]} rows, and {done.n_rows} were told")
        # It counts as looked for once, however many turns it took.
        self.cache.take(done.key)
        self.cache.put(done.key, rows)
        self._n_encoded += 1
        log.info("medium encoded kind=%s rows=%d", done.kind, done.n_rows)
        if turn.rid in self._runs:
            self._held[(turn.rid, turn.run)] = done.key
            self._drop_pixels(self._runs[turn.rid], turn.run)
        else:
            self.cache.leave(done.key)

    @staticmethod
    def _drop_pixels(runs: tuple[MediumRun, ...], run: int) -> None:
        """Give up the pixels of a medium with its last run, which was encoded."""
        medium = runs[run].medium
        if isinstance(medium, FileMedium) and all(
            one.medium is not medium for one in runs[run + 1 :]
        ):
            medium.drop()

    def _let_go(self, rid: int, run: int) -> None:
        key = self._held.pop((rid, run), None)
        if key is not None:
            self.cache.leave(key)

    def _end(self) -> None:
        if self._work is not None:
            self._work.work.close()
            self._work = None
            self.tell("")
