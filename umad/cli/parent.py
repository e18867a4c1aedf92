"""Ends a process together with the one that started it. Not: ending others."""

import os
import signal
import threading


def end_with_stdin() -> None:
    """End this process as by SIGTERM once the holder of its stdin is gone, killed or not."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="stdin-watch", daemon=True).start()
