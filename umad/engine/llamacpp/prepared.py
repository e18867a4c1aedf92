"""Makes a medium into what its encoder reads (`Prepared`): the pixels of an image, the spectrogram
of a sound.

That is one call of the library, and nothing can hold it: 12 megapixels would delay a step by some
tenths of a second. So beside streams that somebody reads it is made on a thread for idle cores
alone (SCHED_IDLE). Where other programs take all cores, that thread may get none for minutes, and a
thread without privileges cannot take its priority back. So after a time it is made once more, at
the usual priority, on the thread that waits for it. Whichever is done first counts, and the other
one gives its memory back when it is done.

Not: when the encoder has its turns (`projector`). Threads: each method says whose it is.
"""

import threading

from umad.engine.aside import take_only_idle_cores
from umad.engine.llamacpp.mtmd import Chunk, LaidOut, Mtmd
from umad.engine.prctl import name_thread
from umad.media.medium import Medium


class Prepared:
    """One medium. gentle_s: how long idle cores are tried before; 0 for not at all."""

    def __init__(self, mtmd: Mtmd, medium: Medium, *, gentle_s: float) -> None:
        self.medium = medium
        self._mtmd = mtmd
        self._gentle_s = gentle_s
        self._lock = threading.Lock()
        self._laid: LaidOut | None = None
        self._runs: list[Chunk] | None = None
        self._error: Exception | None = None
        self._is_ready = threading.Event()
        # It is made at the usual priority, beside whatever steps compute.
        self._is_hasty = False
        self._aside: threading.Thread | None = None
        if gentle_s > 0:
            self._aside = threading.Thread(target=self._run_aside, name="umad-pixels", daemon=True)
            self._aside.start()

    # -- any thread -----------------------------------------------------------------------------

    def wait(self, seconds: float) -> bool:
        """Wait for it at most so long; whether it is done."""
        return self._is_ready.wait(seconds)

    @property
    def computes(self) -> bool:
        """Whether it takes cores that steps need."""
        return self._is_hasty and not self._is_ready.is_set()

    @property
    def is_left(self) -> bool:
        """Whether the thread on idle cores is still at it."""
        return self._aside is not None and self._aside.is_alive()

    # -- the thread that encodes ----------------------------------------------------------------

    def runs(self) -> list[Chunk]:
        """Its runs of rows. Waits for them, or makes them. Raises what went wrong."""
        if not self._is_ready.wait(self._gentle_s):
            self._is_hasty = True
            self._make()
        if self._error is not None:
            raise self._error
        assert self._laid is not None
        if self._runs is None:
            self._runs = [one for one in self._laid.chunks() if one.tokens is None]
        return self._runs

    # -- who has ended the encoding -------------------------------------------------------------

    def close(self) -> None:
        """Give its memory back. It is done; a thread on idle cores may go on (`is_left`)."""
        laid, self._laid, self._runs = self._laid, None, None
        if laid is not None:
            laid.free()

    def join(self) -> None:
        """Wait for the thread on idle cores, for as long as it takes: it uses the projector."""
        if self._aside is not None:
            self._aside.join()

    # -- inside ---------------------------------------------------------------------------------

    def _run_aside(self) -> None:
        name_thread("umad-pixels")
        take_only_idle_cores()
        self._make()

    def _make(self) -> None:
        laid, error = None, None
        try:
            laid = self._mtmd.lay_out(self.medium, pixels=True)
        except Exception as raised:  # noqa: BLE001  the step thread raises it
            error = raised
        with self._lock:
            is_late = self._is_ready.is_set()
            if not is_late:
                self._laid, self._error = laid, error
                self._is_ready.set()
        if is_late and laid is not None:
            laid.free()
