"""The gateway's process beside its daemon's."""

import os
import signal
from pathlib import Path

import psutil

from tests.gateway.gateways import live_gateway
from tests.live import wait_until


def has_ended(process: psutil.Process) -> bool:
    """Nobody may be there to reap it: a zombie has ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_gateway_does_not_outlive_a_daemon_that_was_killed(tmp_path: Path) -> None:
    with live_gateway(tmp_path) as one:
        gateway = psutil.Process(one.pid)
        children = psutil.Process(one.daemon.process.pid).children(recursive=True)
        os.kill(one.daemon.process.pid, signal.SIGKILL)
        wait_until(lambda: has_ended(gateway), what="the gateway's end")
        psutil.wait_procs(children, timeout=60)
