"""`make test-busy`: the whole of `make test`, again and again, beside programs that want the cores.

    python -m tests.busy [--runs 5] [--loops 2] [PYTEST ARGUMENT]…

Not a test. Without arguments for pytest each run is `make test`, else those tests alone. Says of
each run whether it passed; the output of one that did not lies beside the others'. The loops end
with it, however it ends.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from bench import busy

ROOT = Path(__file__).parents[1]


def _obey_interrupts() -> None:
    """Undo what a shell does to the programs that it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(command: Sequence[str], words: IO[bytes]) -> int:
    """Its exit code; where this process is told to end, it and all that it started end first."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=words,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_obey_interrupts,
    )
    try:
        return process.wait()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait()


def main() -> int:
    """Exit code 0 where all runs passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.busy")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--loops", type=int, default=2)
    options, rest = parser.parse_known_args()
    command = [sys.executable, "-m", "pytest", "-q", *rest] if rest else ["make", "test"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = Path(tempfile.mkdtemp(prefix="umad-busy-"))
    n_passed = 0
    with busy.programs(options.loops):
        for number in range(1, options.runs + 1):
            output = folder / f"run-{number}.log"
            began_s = time.perf_counter()
            with output.open("wb") as words:
                code = run(command, words)
            n_passed += code == 0
            said = "passed" if code == 0 else f"FAILED with exit code {code}: {output}"
            took_s = time.perf_counter() - began_s
            sys.stdout.write(f"run {number} of {options.runs}: {said} ({took_s:.0f} s)\n")
            sys.stdout.flush()
    sys.stdout.write(f"{n_passed} of {options.runs} runs passed beside {options.loops} loops\n")
    return 0 if n_passed == options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
