"""The VS Code extension's client on a real daemon with nano: `make vscode-test` builds it."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_media import n_encoded, photo
from tests.engine.projector_files import write_gemma3
from tests.live import LiveDaemon, live_daemon, wait_until
from umad import Client

LIVE = Path(__file__).parents[2] / "adapters" / "vscode" / "build" / "test" / "live.js"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None or not LIVE.exists(), reason="it is not built")


def asked(daemon: LiveDaemon, *arguments: str) -> dict[str, Any]:
    """What the extension's own code was told by the daemon."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, str(LIVE), str(daemon.socket), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    with Client(daemon.socket) as client:
        wait_until(lambda: not client.sessions(), what="the end of all requests")
    assert (done.stderr, done.returncode) == ("", 0)
    return dict(json.loads(done.stdout))


def test_the_extension_completes_and_chats_on_the_model_that_ships(tmp_path: Path) -> None:
    with live_daemon(tmp_path, "nano") as daemon:
        met = asked(daemon)

    assert (met["ghost"]["model"], met["ghost"]["isBlind"]) == ("nano", False)
    assert met["model"]["id"] == "nano"
    assert met["model"]["capabilities"]["imageInput"] is False
    # nano means nothing by it, but a forced call is a call. It draws how many follow, and the last
    # of them may be cut off, which makes it text.
    names = [one["name"] for one in met["said"] if "name" in one]
    assert met["said"][0].get("name") == "now"
    assert set(names) == {"now"}
    assert met["tokens"] > 1
    assert met["cancelled"] == "cancelled"
    assert met["state"]["kind"] == "ready"


def test_a_model_with_a_projector_sees_what_the_extension_sends(tmp_path: Path) -> None:
    """The eyes have random weights; that an image was encoded, the engine says."""
    (tmp_path / "photo.png").write_bytes(photo(1))
    projector = write_gemma3(tmp_path / "mmproj-nano.gguf")
    with live_daemon(tmp_path, "nano", "--mmproj", str(projector)) as daemon:
        met = asked(daemon, str(tmp_path / "photo.png"))
        assert n_encoded(daemon) == 1

    assert met["model"]["capabilities"]["imageInput"] is True
    *said, broken = met["seen"]
    assert "".join(said)
    assert broken == {"code": "bad_media", "field": "messages[0].content[0]"}
