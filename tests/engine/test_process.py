import os
import subprocess
import sys

import psutil

from umad.engine.process import decode_threads, memory_bytes


def spin_count_after_share_cores(**variables: str) -> str:
    script = (
        "import os; from umad.engine.waiting import share_cores; share_cores();"
        "print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    unset = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    environment = {k: v for k, v in os.environ.items() if k not in unset} | variables
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True
    )
    return run.stdout.strip()


def test_decoding_uses_no_more_cores_than_there_are() -> None:
    assert 1 <= decode_threads() <= (psutil.cpu_count(logical=True) or 1)


def test_a_process_cannot_have_more_memory_than_the_machine() -> None:
    assert 0 < memory_bytes() <= psutil.virtual_memory().total


def test_threads_that_wait_soon_leave_their_core_to_others() -> None:
    assert spin_count_after_share_cores() == "3000"


def test_a_users_own_choice_of_waiting_stays() -> None:
    assert spin_count_after_share_cores(GOMP_SPINCOUNT="777") == "777"
    assert spin_count_after_share_cores(OMP_WAIT_POLICY="active") == "None"
