"""`umad.engine.llamacpp.repack_child [BUFFER TYPE]…`: does llama.cpp's repacking work on this
machine?

A process of its own, since the answer may be its death. On stdout, one line each, words parted by
tabs: `trying BUFFERS WEIGHTS` before they are tried, `wrong BUFFERS WEIGHTS` where their numbers
are not the plain ones, `done` at the end. The buffer types among its arguments are left out.
"""

import os
import resource
import sys
from collections.abc import Sequence

from umad.engine.llamacpp import llama
from umad.engine.llamacpp.repack_trial import RepackTrial
from umad.engine.process import die_with_parent

TRYING, WRONG, DONE = "trying", "wrong", "done"


def main(without: Sequence[str]) -> int:
    """Try, and say so."""
    die_with_parent(os.getppid())
    # Its death is an answer, and nobody wants to look into it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    llama.start()
    RepackTrial(
        llama.libggml,
        trying=lambda buffers, weights: _say(TRYING, buffers, weights),
        wrong=lambda buffers, weights: _say(WRONG, buffers, weights),
    ).run(without=without)
    _say(DONE)
    return 0


def _say(*words: str) -> None:
    # At once: the next instruction may be the last.
    sys.stdout.write("\t".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
