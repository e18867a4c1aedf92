"""Figures of single-stream runs, and the CPU time of real processes."""

import subprocess
import sys

import psutil
import pytest

from bench.overhead import Run, samples_of, tree_cpu_s

# A child burns a known amount of CPU in a grandchild, says so, and waits to be told to end.
_BURNS = """
import subprocess, sys
burn = "import time\\nwhile time.process_time() < 0.3: pass\\nprint(flush=True)\\ninput()"
subprocess.run([sys.executable, "-c", burn])
"""


def test_figures_are_per_token_of_all_requests() -> None:
    run = Run(
        first_token_ms=(4.0, 10.0, 6.0),
        tokens=300,
        streaming_s=2.97,
        server_cpu_s=1.5,
        client_cpu_s=0.06,
    )

    samples = samples_of({"umad": [run]})

    assert {row: each["umad"] for row, each in samples.items()} == {
        "first token p50, ms": [6],
        "first token p95, ms": [10],
        "server CPU per token, ms": [5],
        "client CPU per token, ms": [pytest.approx(0.2)],
        "CPU per token, ms": [pytest.approx(5.2)],
        # 99 waits a stream, each a hundredth of a second: a first token ends no wait.
        "tokens/s": [pytest.approx(100)],
    }


def test_the_cpu_of_a_server_is_that_of_all_processes_below_it() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _BURNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert parent.stdout is not None
        parent.stdout.readline()
        own = psutil.Process(parent.pid).cpu_times()

        whole_s = tree_cpu_s(parent.pid)
    finally:
        parent.communicate(b"\n", timeout=60)

    # Clock ticks are hundredths, and their difference is one only when rounded.
    assert round(whole_s - (own.user + own.system), 2) >= 0.29


def test_a_table_has_one_sample_for_each_repetition() -> None:
    runs = [
        Run(
            first_token_ms=(4.0,),
            tokens=10,
            streaming_s=0.1,
            server_cpu_s=server_cpu_s,
            client_cpu_s=0.01,
        )
        for server_cpu_s in (0.02, 0.04)
    ]

    samples = samples_of({"umad": runs, "peer": runs[::-1]})

    assert samples["server CPU per token, ms"] == {"umad": [2, 4], "peer": [4, 2]}
