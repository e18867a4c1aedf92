"""`umad demo` on the model that ships: it shows what it promises and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.live import still_running, wait_until

ROOT = Path(__file__).parents[2]
# A demo goes on for a minute where a busy machine leaves an app without a token.
PATIENCE_S = 240.0
pytestmark = pytest.mark.timeout(300)


def start_demo(folder: Path, *args: str) -> subprocess.Popen[str]:
    environ = {name: text for name, text in os.environ.items() if not name.startswith("UMAD_")}
    return subprocess.Popen(
        [sys.executable, "-m", "umad", "demo", *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
    )


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.usefixtures("nano_path")
def test_it_shows_what_every_app_felt_and_the_scorecard(short_tmp_path: Path) -> None:
    demo = start_demo(short_tmp_path, "--seconds", "3")

    out, err = demo.communicate(timeout=PATIENCE_S)

    assert (demo.returncode, err) == (0, "")
    for app in ("editor", "notebook", "chat", "indexer"):
        assert any(line.startswith(app) for line in out.splitlines()), out
    for field in ("p99", "LONGEST", "TTFT", "tokens_per_s_at_cap", "sum_bmt_mb_per_token"):
        assert field in out
    assert list(short_tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_however_it_ends_no_process_is_left(short_tmp_path: Path, number: signal.Signals) -> None:
    demo = start_demo(short_tmp_path, "--seconds", "600")
    assert demo.stdout is not None
    assert demo.stdout.readline().startswith("serving")
    wait_until(lambda: len(children_of(demo)) >= 6, within_s=100, what="all its processes")
    left = children_of(demo)

    demo.send_signal(number)
    demo.communicate(timeout=60)

    alive = still_running(left)
    for process in alive:
        process.kill()
    assert alive == []
    assert demo.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)


def test_a_model_that_cannot_be_served_is_1_with_the_reason(short_tmp_path: Path) -> None:
    broken = short_tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, but not really")
    demo = start_demo(short_tmp_path, "--seconds", "3", "--model", str(broken))

    _, err = demo.communicate(timeout=PATIENCE_S)

    assert demo.returncode == 1
    assert "the demo's daemon did not start" in err
    assert err.count("\n") == 1
