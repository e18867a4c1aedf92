"""Memory facts of real processes."""

import os
import subprocess
import sys

from umad.metrics import read_memory


def test_our_own_process_holds_memory() -> None:
    facts = read_memory(os.getpid())

    assert facts is not None
    assert facts.rss_bytes > 2**20
    if sys.platform == "linux":
        assert facts.pss_bytes is not None
        assert 0 < facts.pss_bytes <= facts.rss_bytes * 1.5
        assert facts.faulted_bytes_total is not None
        assert facts.faulted_bytes_total >= 0


def test_a_process_that_is_gone_has_no_facts() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(timeout=60)

    assert read_memory(gone.pid) is None
