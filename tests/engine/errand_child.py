"""The child of `test_errand`: does what it is asked to. Not a test."""

import os
import signal
import sys
import threading

from umad.engine.errand import answering
from umad.errors import ModelTooLarge


def main() -> int:
    with answering() as errand:
        match errand.question["do"]:
            case "answer":
                print("libraries print, too")
                errand.news(done=1)
                errand.news(done=2)
                errand.answer(errand.question)
            case "error":
                raise ModelTooLarge("it needs 8 MB", field="ctx_size")
            case "bug":
                raise ZeroDivisionError
            case "die":
                sys.stderr.write("GGML_ASSERT(false) failed\n")
                sys.stderr.flush()
                os.kill(os.getpid(), signal.SIGABRT)
            case "hang":
                errand.news(pid=os.getpid())
                threading.Event().wait()
            case _:
                pass  # no answer at all
    return 0


if __name__ == "__main__":
    sys.exit(main())
