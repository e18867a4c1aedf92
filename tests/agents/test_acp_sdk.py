"""`umad acp`, driven by the protocol's own SDK from npm: `make agents-test`."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acp.test_agent import Daemon, call
from tests.client.scripted_daemon import daemon, run

NODE = shutil.which("node")
SDK = Path(__file__).parents[2] / (".venv/agents/node_modules/@agentclientprotocol/sdk")
PATIENCE_S = 250.0
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(NODE is None or not SDK.exists(), reason="the SDK is not installed"),
]


async def edited(socket: str, home: Path, session: str = "") -> dict[str, Any]:
    """What the editor met."""
    assert NODE is not None
    umad = [sys.executable, "-m", "umad", "acp", "--socket", socket]
    editor = str(Path(__file__).with_name("acp_editor.mjs"))
    done = await asyncio.create_subprocess_exec(
        *(NODE, editor, str(SDK), session, *umad),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "XDG_STATE_HOME": str(home)},
    )
    out, _ = await done.communicate()
    assert done.returncode == 0
    met = json.loads(out)
    assert isinstance(met, dict)
    return met


def said(met: dict[str, Any], kind: str) -> str:
    return "".join(one["content"]["text"] for one in met["updates"] if one["sessionUpdate"] == kind)


def test_the_makers_editor_asks_allows_cancels_and_loads(tmp_path: Path) -> None:
    async def main() -> tuple[dict[str, Any], dict[str, Any]]:
        path = str(tmp_path / "s")
        model = Daemon(call("read_file", path="f.py"), "It has x.", None)
        async with daemon(path, model.script):
            first = await edited(path, tmp_path)
            return first, await edited(path, tmp_path, first["sessionId"])

    first, second = run(main(), within_s=PATIENCE_S)

    assert first["initialized"]["agentCapabilities"]["loadSession"] is True
    assert [mode["id"] for mode in first["modes"]["availableModes"]] == ["ask", "edit", "chat"]
    assert first["permissions"] == ["Read /project/f.py"]
    assert first["read"] == ["/project/f.py"]
    assert first["answered"]["stopReason"] == "end_turn"
    assert said(first, "agent_message_chunk") == "It has x."
    assert first["cancelled"]["stopReason"] == "cancelled"
    assert said(second, "user_message_chunk").startswith("What is in f.py?")
    assert said(second, "agent_message_chunk") == "It has x."
