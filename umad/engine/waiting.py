"""Chooses how the threads of this process's libraries wait, before these are loaded.

Imports next to nothing (`umad.engine.start`). Not: threads that step back for others
(`umad.engine.aside`, `umad.engine.process`).
"""

import os

SPINS = 3000
# A user who sets one of these chooses how OpenMP threads wait.
WAIT_VARIABLES = frozenset({"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"})


def share_cores() -> None:
    """Let OpenMP threads spin only briefly at the barriers of a graph. Before llama.cpp is loaded.

    libgomp spins for milliseconds, and then daemon and clients want a core that is spinning; a
    thread that sleeps at once costs as much. Tiny model over the socket, two quiet cores, tokens/s
    of 1 / 8 streams: 332 / 1,328 with libgomp's own setting, 347 / 1,310 with 3,000 rounds,
    357 / 1,291 with 1,000, 200 / 980 with 100. `umad.engine.steps.spinning` goes down to 100 where
    other programs want the cores. A user's own choice stays.
    """
    # numpy's OpenBLAS starts a thread for each core, and an engine never multiplies with numpy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not os.environ.keys() & WAIT_VARIABLES:
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)


def spins_are_ours() -> bool:
    """True if `share_cores` chose how OpenMP threads wait, and not the user."""
    return os.environ.get("GOMP_SPINCOUNT") == str(SPINS) and "OMP_WAIT_POLICY" not in os.environ
