"""The thread that waits for mail sleeps while the engine sends news."""

import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: a mailbox ends its process when its link closes.
SCRIPT = """
import os, socket, threading, time
from pathlib import Path
from umad.engine.mail.mailbox import Mailbox

ours, daemons = socket.socketpair()
Mailbox(ours).start()
(thread,) = [one for one in threading.enumerate() if one.name == "umad-mailbox"]
status = Path(f"/proc/self/task/{thread.native_id}/status")

def n_sleeps():
    (line,) = [one for one in status.read_text().splitlines() if one.startswith("voluntary")]
    return int(line.split()[1])

def waits():
    return Path(f"/proc/self/task/{thread.native_id}/stat").read_text().split()[2] == "S"

until = time.monotonic() + 20
while not waits() and time.monotonic() < until:
    time.sleep(0.01)
before = n_sleeps()
for _ in range(500):
    ours.sendall(b"news")
    daemons.recv(100)
print(n_sleeps() - before)
os._exit(0)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc")
def test_news_that_the_daemon_reads_wakes_nobody_in_the_engine() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )

    assert int(ran.stdout) <= 5
