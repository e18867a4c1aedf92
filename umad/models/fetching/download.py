"""Fetches one file: in parts at once, on from where a killed process stopped, checked as a whole.

    1. The file's lock is taken, or the process that has it is followed (`following`).
    2. What an earlier process left is opened (`partial`), and the disk is asked for room (`room`).
    3. Some threads read the pieces that are missing (`remote`), the first ones first. The caller's
       thread hashes what has come without a gap, reports, and watches the disk.
    4. When all is there and has the right checksum, the file gets its name. Else nothing does.

Not: which file, and from where (`umad.models.fetching.hub`, `umad.models.fetching.ollama`).
Owner: the thread that calls `run`.
"""

import contextlib
import errno
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
from filelock import FileLock, Timeout

from umad.clock import Clock
from umad.errors import DiskFull, FetchFailed
from umad.models.fetching.following import Follower
from umad.models.fetching.limits import FetchLimits, RateLimit
from umad.models.fetching.partial import PartialFile, discard
from umad.models.fetching.progress import FetchProgress, Pace
from umad.models.fetching.remote import Interrupted, Ranges, RemoteFile, host_of
from umad.models.fetching.room import check_room, free_bytes, size_text
from umad.units import NS_PER_S

# The name of the threads that read.
THREAD = "umad-fetch"
# How often progress is told, the disk is watched, and another process's lock is tried.
_LOOK_S = 0.1
_SETTLE_NS = 10 * NS_PER_S
# 10 to 40 ms of hashing between two looks.
_HASHED_AT_ONCE = 2**24
# A thread that reads a silent server cannot be told to stop; it ends with the process.
_JOIN_NS = 2 * NS_PER_S
_FULL = (errno.ENOSPC, errno.EDQUOT)


class _OneStreamHasAll(Exception):
    """The server knows no ranges, and another thread reads all that it sends."""


class Download:
    """One file on its way."""

    def __init__(
        self,
        file: RemoteFile,
        final: Path,
        lock: Path,
        *,
        client: httpx2.Client,
        limits: FetchLimits,
        rate: RateLimit,
        clock: Clock,
        on_progress: Callable[[FetchProgress], None],
    ) -> None:
        self._file = file
        self._final, self._lock_path = final, lock
        self._ranges = Ranges(client, file, silence_s=limits.silence_s)
        self._limits = limits
        self._rate = rate
        self._clock = clock
        self._on_progress = on_progress
        self._stop = threading.Event()
        self._news = threading.Event()
        self._failure: BaseException | None = None
        self._todo: deque[int] = deque()
        self._threads: list[threading.Thread] = []
        # Of the one thread that reads a file whose server knows no ranges.
        self._whole = threading.Lock()

    def run(self) -> None:
        """Fetch the file, unless it is there. Raises `FetchFailed`, in one line."""
        try:
            self._final.parent.mkdir(parents=True, exist_ok=True)
            self._lock_path.parent.mkdir(parents=True, exist_ok=True)
            self._once()
            # Marks that a process left which was killed just after it had named the file.
            discard(self._final)
        except OSError as error:
            raise self._of_system(error) from error
        self._on_progress(Pace(self._file.name, self._size).read(self._size, self._now()))

    @property
    def _size(self) -> int:
        return self._file.size_bytes

    def _now(self) -> int:
        return self._clock.now_ns()

    def _is_there(self) -> bool:
        return self._final.is_file() and self._final.stat().st_size == self._size

    def _once(self) -> None:
        """Fetch it here, or wait until another process has."""
        follower = Follower(
            self._final,
            file=self._file.name,
            size_bytes=self._size,
            stall_s=self._limits.stall_s,
            on_progress=self._on_progress,
        )
        # As the hub's client makes it: a cache may be shared by a group of users.
        lock = FileLock(self._lock_path, mode=0o664, thread_local=False)
        while not self._is_there():
            try:
                lock.acquire(blocking=False)
            except Timeout:
                follower.look(self._now())
                self._stop.wait(_LOOK_S)
                continue
            try:
                if not self._is_there():
                    self._fetch()
            finally:
                lock.release()

    # -- with the lock -----------------------------------------------------------------------------

    def _fetch(self) -> None:
        partial = PartialFile.open(
            self._final,
            checksum=self._file.checksum,
            size_bytes=self._size,
            piece_bytes=self._limits.piece_bytes(self._size),
            file=self._file.name,
        )
        with self._reading(partial):
            check_room(
                self._final.parent,
                what=self._file.name,
                needed_bytes=self._size - partial.done_bytes,
                keep_free_bytes=self._limits.keep_free_bytes,
            )
            is_right = self._transfer(partial)
        if not is_right:
            partial.discard()
            raise FetchFailed(
                f"{self._file.name} came damaged from {host_of(self._file.url)}: its bytes have "
                f"another checksum than {self._file.checksum.digits[:12]}…; nothing of it is kept, "
                "pull it again"
            )
        partial.publish()

    @contextlib.contextmanager
    def _reading(self, partial: PartialFile) -> Iterator[None]:
        """Ends the threads with what they do, and says how much is kept when it fails."""
        try:
            yield
        except BaseException as error:
            self._stop.set()
            until_ns = self._now() + _JOIN_NS
            for thread in self._threads:
                thread.join(max(until_ns - self._now(), 0) / NS_PER_S)
            if not any(thread.is_alive() for thread in self._threads):
                # Not while a thread could still write to a number that means another file then.
                partial.close()
            if isinstance(error, OSError):
                error = self._of_system(error)
            if isinstance(error, FetchFailed):
                raise self._with_figures(error, partial) from error.__cause__
            raise

    def _with_figures(self, error: FetchFailed, partial: PartialFile) -> FetchFailed:
        if not partial.done_bytes:
            return error
        kept = f"{size_text(partial.done_bytes)} of {size_text(self._size)} are kept"
        return type(error)(f"{error.message} ({kept}: the next pull goes on from there)")

    def _of_system(self, error: OSError) -> FetchFailed:
        if error.errno in _FULL:
            return DiskFull(
                f"the disk of {self._final.parent} is full, and {self._file.name} is not whole: "
                "make room, or name a folder on another disk (HF_HUB_CACHE, UMAD_MODELS)"
            )
        where = error.filename or self._final.parent
        return FetchFailed(f"{where} cannot be written: {error.strerror or error}")

    def _transfer(self, partial: PartialFile) -> bool:
        """Read what is missing; whether all of it together is the right file."""
        self._todo.extend(
            piece
            for piece, (at, end) in enumerate(map(partial.gap, range(partial.n_pieces)))
            if at < end
        )
        for _ in range(min(self._limits.parts, len(self._todo))):
            thread = threading.Thread(target=self._work, args=(partial,), name=THREAD, daemon=True)
            self._threads.append(thread)
            thread.start()
        pace = Pace(self._file.name, self._size)
        hashing = self._file.checksum.start(self._size)
        hashed = 0
        looked_ns, settled_ns = 0, self._now()
        while True:
            # Asked before the frontier: a thread that has ended has written all it will.
            has_ended = not any(thread.is_alive() for thread in self._threads)
            frontier = partial.frontier()
            if self._failure is not None:
                raise self._failure
            if hashed < frontier:
                data = partial.read(hashed, min(frontier - hashed, _HASHED_AT_ONCE))
                if not data:  # somebody cut it short
                    return False
                hashing.update(data)
                hashed += len(data)
            elif has_ended:
                break
            else:
                self._news.wait(_LOOK_S)
                self._news.clear()
            now_ns = self._now()
            if now_ns - looked_ns >= _LOOK_S * NS_PER_S:
                looked_ns = now_ns
                self._on_progress(pace.read(partial.done_bytes, now_ns))
                self._watch_room()
            if now_ns - settled_ns >= _SETTLE_NS:
                settled_ns = now_ns
                partial.settle()
        return hashed == self._size and hashing.hexdigest() == self._file.checksum.digits

    def _watch_room(self) -> None:
        free = free_bytes(self._final.parent)
        if free < self._limits.keep_free_bytes:
            raise DiskFull(
                f"the disk of {self._final.parent} has {size_text(free)} free, of which "
                f"{size_text(self._limits.keep_free_bytes)} stay free: something else fills it "
                f"while {self._file.name} is fetched; make room"
            )

    # -- the threads that read ---------------------------------------------------------------------

    def _work(self, partial: PartialFile) -> None:
        try:
            while not self._stop.is_set():
                try:
                    piece = self._todo.popleft()
                except IndexError:
                    return
                self._piece(partial, piece)
        except BaseException as error:  # noqa: BLE001  # the thread of `run` raises it
            self._failure = self._failure or error
            self._stop.set()
        finally:
            self._news.set()

    def _piece(self, partial: PartialFile, piece: int) -> None:
        failures = 0
        while not self._stop.is_set():
            at, end = partial.gap(piece)
            if at == end:
                return
            try:
                self._range(partial, at, end)
            except _OneStreamHasAll:
                # The gap may be filled then; if not, this thread reads the stream.
                while not self._stop.is_set() and not self._whole.acquire(timeout=_LOOK_S):
                    pass
                if not self._stop.is_set():
                    self._whole.release()
            except Interrupted as error:
                has_moved = partial.gap(piece)[0] > at
                failures = 0 if has_moved else failures + 1
                if failures >= self._limits.tries:
                    raise FetchFailed(
                        f"{self._file.name} cannot be fetched for now: {error}"
                    ) from error
                doubled = 2 ** min(max(failures - 1, 0), 3)
                own_s = 0.0 if has_moved else self._limits.first_wait_s * doubled
                self._stop.wait(max(own_s, error.wait_s))

    def _range(self, partial: PartialFile, at: int, end: int) -> None:
        with self._ranges.open(at, end) as body, contextlib.ExitStack() as held:
            if body.is_whole:
                if not self._whole.acquire(blocking=False):
                    raise _OneStreamHasAll
                held.callback(self._whole.release)
                end = self._size
            at = body.at
            for chunk in body.chunks:
                if self._stop.is_set():
                    return
                piece = chunk[: end - at]
                partial.write(at, piece)
                at += len(piece)
                self._news.set()
                if at >= end:
                    return
                wait_ns = self._rate.take(len(chunk), self._now())
                if wait_ns > 0:
                    self._stop.wait(wait_ns / NS_PER_S)
        raise Interrupted(f"{host_of(self._file.url)} ended the connection early")
