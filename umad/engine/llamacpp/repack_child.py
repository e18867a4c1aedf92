"""Tries llama.cpp's repacking on this machine: `umad.engine.llamacpp.repack_child [BUFFER TYPE]…`.

It is a process of its own, because the trial may kill it. On stdout, one line each, words separated
by tabs: `trying BUFFERS WEIGHTS NUMBER` before they are tried (NUMBER: ggml's, of the type of
weights), `wrong BUFFERS WEIGHTS NUMBER` where their numbers are not the plain ones, `done` at the
end. The buffer types among its arguments are left out.
"""

import os
import resource
import sys
from collections.abc import Sequence

from umad.engine.llamacpp import llama
from umad.engine.llamacpp.repack_trial import RepackTrial
from umad.engine.prctl import die_with_parent

TRYING, WRONG, DONE = "trying", "wrong", "done"


def main(without: Sequence[str]) -> int:
    """Run the trial, and report it on stdout."""
    die_with_parent(os.getppid())
    # Its death is an answer, so no core file is needed.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    llama.start()
    RepackTrial(
        llama.libggml,
        trying=lambda buffers, weights, number: _say(TRYING, buffers, weights, str(number)),
        wrong=lambda buffers, weights, number: _say(WRONG, buffers, weights, str(number)),
    ).run(without=without)
    _say(DONE)
    return 0


def _say(*words: str) -> None:
    # Flush at once, because the next instruction may kill the process.
    sys.stdout.write("\t".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
