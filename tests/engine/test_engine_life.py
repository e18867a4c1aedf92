"""How an engine's process ends, what it leaves in the log, and what it keeps for its next start."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.engine.harness import (
    ROOT,
    WAIT_S,
    RunningEngine,
    engine,
    start,
    submit,
)
from umad import nano
from umad.config import EngineSettings
from umad.engine.launch import EngineOptions, command
from umad.protocol.link import Stop

# Of which one meets the machine as the one before it did, however many programs want the cores.
STARTS = 20


def test_told_to_stop_it_finishes_its_work_and_exits() -> None:
    with engine(nano.path()) as running:
        running.ready()
        running.send(submit(1, prompt="import os", max_tokens=100, ignore_eos=True), Stop())

        completion = running.finish(1)[0]

        assert len(completion.ids) == 100
        assert running.wait() == 0


def test_it_exits_when_its_daemon_hangs_up() -> None:
    with engine(nano.path()) as running:
        running.ready()
        running.send(submit(1, prompt="import os", max_tokens=900, ignore_eos=True))

        running.link.close()

        assert running.wait() == 0


def test_ctrl_c_is_left_to_the_daemon() -> None:
    with engine(nano.path()) as running:
        running.ready()

        running.process.send_signal(signal.SIGINT)

        assert running.generate(1, prompt="import os").ending.completion_tokens == 8


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
def test_no_orphan_remains_when_the_parent_is_killed() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT_S)
    line = command(EngineOptions(name="m", path=str(nano.path())), theirs.fileno())
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                """
                import json, subprocess, sys
                line, fd = json.loads(sys.argv[1]), int(sys.argv[2])
                subprocess.Popen(line, pass_fds=(fd,), stderr=subprocess.DEVNULL).wait()
                """
            ),
            json.dumps(line),
            str(theirs.fileno()),
        ],
        pass_fds=(theirs.fileno(),),
        cwd=ROOT,
    )
    theirs.close()
    with ours:
        running = RunningEngine(parent, ours)
        running.ready()

        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(WAIT_S)

        # The engine holds the only other end; it is gone when the kernel says end of file.
        with pytest.raises((EOFError, ConnectionResetError)):
            running.hear()


def test_no_prompt_text_is_logged() -> None:
    options = EngineOptions(name="m", path=str(nano.path()), log_level="debug")
    with start(options) as running:
        running.ready()
        running.generate(1, prompt="a very secret sentence")
        running.generate(2, prompt_ids=(10**9,))
        running.send(Stop())
        running.wait()

        assert "secret" not in running.stderr


@pytest.mark.timeout(600)
def test_what_steps_cost_is_remembered_and_spares_the_next_start_most_of_its_probing(
    tmp_path: Path,
) -> None:
    options = EngineOptions(
        name="m", path=str(nano.path()), engine=EngineSettings(threads=1, gpu_layers=0)
    )

    def probes() -> list[str]:
        with start(options, cache=tmp_path) as running:
            running.ready()
            running.send(Stop())
            running.wait()
            (line,) = [line for line in running.stderr.splitlines() if " costs model=" in line]
        return re.findall(r"(\d+\+\d+)=", line)

    first = probes()
    (file,) = (tmp_path / "umad" / "costs").iterdir()
    # A start that finds this machine twice as slow as the one before rightly measures it anew.
    knows = any(probes() == ["1+0"] for _ in range(STARTS))
    file.write_text("nonsense")
    again = probes()

    assert len(first) > 1
    assert knows
    assert len(again) > 1, "what is damaged is not believed"
