"""The VS Code extension's client on a real daemon with nano: `make vscode-test` builds it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.live import live_daemon, wait_until
from umad import Client

LIVE = Path(__file__).parents[2] / "adapters" / "vscode" / "build" / "test" / "live.js"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None or not LIVE.exists(), reason="it is not built")


def test_the_extension_completes_and_chats_on_the_model_that_ships(tmp_path: Path) -> None:
    assert NODE is not None
    with live_daemon(tmp_path, "nano") as daemon:
        done = subprocess.run(
            [NODE, str(LIVE), str(daemon.socket)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        with Client(daemon.socket) as client:
            wait_until(lambda: not client.sessions(), what="the end of all requests")

    assert (done.stderr, done.returncode) == ("", 0)
    met = json.loads(done.stdout)
    assert (met["ghost"]["model"], met["ghost"]["isBlind"]) == ("nano", False)
    assert met["model"]["id"] == "nano"
    # nano means nothing by it, but a forced call is a call. It draws how many follow, and the last
    # of them may be cut off, which makes it text.
    names = [one["name"] for one in met["said"] if "name" in one]
    assert met["said"][0].get("name") == "now"
    assert set(names) == {"now"}
    assert met["tokens"] > 1
    assert met["cancelled"] == "cancelled"
    assert met["state"]["kind"] == "ready"
