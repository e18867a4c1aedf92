"""Lets OpenMP's threads spin at a graph's barriers for long, or hardly at all.

They spin for long while they have cores of their own, and hardly at all while other programs want
those cores. llama.cpp's threads wait for each other some 300 times a token. Threads that spin until
the last one has come go on at once. But when that last thread has lost its core to another program
(a compiler, a test run), the others spin in vain, hundreds of times a token. Measured on two cores,
tiny model, one stream, tokens/s spinning for 3,000 rounds and for 100: no other program 350 and
200, beside one busy program 80 and 290.

libgomp reads its setting once, before main. But it spins for 100 rounds at most while the process
has more OpenMP threads than cores (`gomp_throttled_spin_count_var`, libgomp's
config/linux/wait.h). So this module starts a second team that sleeps and does nothing, and the
working team spins briefly ("polite"); when the second team ends, the working team spins for long
again ("eager"). Eager threads have a core each (`own_cores`). Nothing is done where there is no
libgomp, where the kernel does not say how long threads had to wait for a core, or where the user
has chosen (GOMP_SPINCOUNT, OMP_WAIT_POLICY).

Owner: the step thread.
"""

import ctypes
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from umad.engine.process import tells_waits
from umad.engine.steps.decode_waits import DecodeWaits
from umad.engine.steps.own_cores import OwnCores
from umad.engine.waiting import spins_are_ours

log = logging.getLogger("umad.engine")

LOOK_NS = 50_000_000
# From this share of the decode threads' time spent waiting for a core, other programs want the
# cores. Without other programs the share is below 0.06 nine times of ten and never above 0.22 (the
# daemon and the clients work, too); beside one busy program it is 0.35 to 0.52, whether threads
# spin or sleep.
CROWDED_SHARE = 0.28
# Only so many looks in a row tell that another program stays. An engine that begins or ends beside
# this one takes a core for up to a third of a second. Threads that turned polite for it made tokens
# a fifth slower for a second and more afterwards.
CROWDED_LOOKS = 6
# A compiler pauses between files. Such a pause is too short to turn eager.
LEAST_CALM_NS, MOST_CALM_NS = 1_000_000_000, 30_000_000_000
_START_S = 5.0


class Patience:
    """Decides when to be polite. Pure: shares of time in, a choice out.

    It turns eager after a time of calm. Where that was a mistake, it waits twice that time before
    it turns eager again.
    """

    __slots__ = ("_calm_ns", "_crowded_at_ns", "_crowded_looks", "_eager_since_ns", "polite")

    def __init__(self) -> None:
        self.polite = False
        self._crowded_at_ns = 0
        self._crowded_looks = 0
        self._eager_since_ns: int | None = None
        self._calm_ns = LEAST_CALM_NS

    def saw(self, share: float, now_ns: int) -> bool:
        """True if the threads should be polite from now on. share: the part of their time since the
        last look that they waited for a core.
        """
        is_crowded = share > CROWDED_SHARE
        self._crowded_looks = self._crowded_looks + 1 if is_crowded else 0
        if is_crowded and (self.polite or self._crowded_looks >= CROWDED_LOOKS):
            if not self.polite and self._eager_since_ns is not None:
                was_short = now_ns - self._eager_since_ns < self._calm_ns
                self._calm_ns = min(2 * self._calm_ns, MOST_CALM_NS) if was_short else LEAST_CALM_NS
            self.polite = True
            self._crowded_at_ns = now_ns
        elif self.polite and now_ns - self._crowded_at_ns >= self._calm_ns:
            self.polite = False
            self._eager_since_ns = now_ns
        return self.polite


class IdleTeam:
    """An OpenMP team of one thread more than there are cores, which sleeps until it is dismissed.

    Each of its threads costs a stack and no time. libgomp counts them until their master ends.
    """

    def __init__(self, libgomp: ctypes.CDLL, cores: int) -> None:
        self._libgomp = libgomp
        self._size = cores + 1
        self._dismissed = threading.Event()
        self._master: threading.Thread | None = None

    def gather(self) -> None:
        """Start the team. Returns once libgomp counts it."""
        if self._master is not None:
            return
        gathered = threading.Event()
        self._dismissed = threading.Event()
        self._master = threading.Thread(
            target=self._sleep, args=(gathered, self._dismissed), name="umad-idle", daemon=True
        )
        self._master.start()
        gathered.wait(_START_S)

    def dismiss(self) -> None:
        """End the team. Returns at once; its threads end soon after."""
        self._dismissed.set()
        self._master = None

    def _sleep(self, gathered: threading.Event, dismissed: threading.Event) -> None:
        # Only work gathers a team: every thread calls the C library's free(NULL), which does
        # nothing.
        work = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)
        run = self._libgomp.GOMP_parallel
        run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        run.restype = None
        run(work, None, self._size, 0)
        gathered.set()
        # It ends with the process at the latest, because it is a daemon thread.
        dismissed.wait()


class SpinWatch:
    """Measures how long the decode's threads waited for cores; gathers or dismisses the team.

    Steps that somebody reads have a patience of their own. The background work of several engines
    shares the cores, and lets all of them alone for interactive work. What it has seen says nothing
    about the interactive steps after it.
    """

    def __init__(
        self,
        team: IdleTeam,
        *,
        threads: int,
        waited_ns: Callable[[], int],
        now_ns: int,
        cores: OwnCores | None = None,
        helpers: Callable[[], Sequence[int]] = tuple,
    ) -> None:
        """threads: those of a decode. waited_ns: the wait of all of them, ever growing. cores: ties
        the `helpers` of the step thread to cores while they spin for long; None for no ties."""
        self._team = team
        self._threads = threads
        self._waited_ns = waited_ns
        self._patience = {True: Patience(), False: Patience()}
        self._is_read = False
        self._is_polite = False
        self._looked_ns = now_ns
        self._last_ns = waited_ns()
        self._cores = cores
        self._helpers = helpers
        self._keep_cores()

    def begins(self) -> None:
        """A decode is about to begin."""
        if self._cores is not None:
            self._cores.make_room()

    def look(self, now_ns: int, *, is_read: bool) -> None:
        """Call after a step. It measures only every `LOOK_NS`. is_read: whether the step had
        interactive rows.
        """
        if is_read != self._is_read:
            self._is_read = is_read
            self._looked_ns, self._last_ns = now_ns, self._waited_ns()
            self._be(self._patience[is_read].polite, "steps of the other kind")
            return
        passed_ns = now_ns - self._looked_ns
        if passed_ns < LOOK_NS:
            return
        waited_ns = self._waited_ns()
        # The sum is over living threads, so it falls when a thread ends.
        share = max(0, waited_ns - self._last_ns) / (passed_ns * self._threads)
        self._looked_ns, self._last_ns = now_ns, waited_ns
        self._be(self._patience[is_read].saw(share, now_ns), f"share_waited={share:.2f}")
        self._keep_cores()

    def _keep_cores(self) -> None:
        if self._cores is None:
            return
        if self._is_polite:
            self._cores.let_go()
        else:
            self._cores.keep(self._helpers())

    def _be(self, polite: bool, why: str) -> None:
        if polite == self._is_polite:
            return
        self._is_polite = polite
        if polite:
            self._team.gather()
        else:
            self._team.dismiss()
        log.info("threads spin=%s %s", not polite, why)


class NoSpinWatch:
    """Where there is nothing to watch."""

    def begins(self) -> None:
        """Does nothing."""

    def look(self, now_ns: int, *, is_read: bool) -> None:
        """Does nothing."""


def watch(threads: int, now_ns: int) -> SpinWatch | None:
    """The watch of this process, once llama.cpp has run; None where there is nothing to do."""
    libgomp = _libgomp()
    if threads < 2 or libgomp is None or not (spins_are_ours() and tells_waits()):
        return None
    cores = sorted(os.sched_getaffinity(0))
    waits = DecodeWaits()
    return SpinWatch(
        IdleTeam(libgomp, len(cores)),
        threads=threads,
        waited_ns=waits,
        now_ns=now_ns,
        cores=OwnCores(cores, threads=threads),
        helpers=lambda: waits.helpers,
    )


def _libgomp() -> ctypes.CDLL | None:
    """The libgomp that llama.cpp has loaded: wheels carry one under a name of their own."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        path = line.partition("/")[2]
        if Path(path).name.startswith("libgomp"):
            return ctypes.CDLL(f"/{path}")
    return None
