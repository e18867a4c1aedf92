"""The packed extension in a real code-server, with a real browser: `make vscode-host-test`.

A daemon that speaks by script stands behind the socket, so the text that has to appear is known.
"""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client.scripted_daemon import daemon_thread
from tests.lsp.test_server import CODER, Model

ROOT = Path(__file__).parents[2]
VSIX = ROOT / "adapters" / "vscode" / "dist" / "umad.vsix"
HOST = os.environ.get("CODE_SERVER") or shutil.which("code-server")
START_S = 120.0
SHOWN_MS = 60_000
pytestmark = [
    pytest.mark.skipif(HOST is None or not VSIX.exists(), reason="code-server is not installed"),
    pytest.mark.timeout(400),
]


@contextmanager
def code_server(folder: Path, umad_socket: Path) -> Iterator[str]:
    """A code-server with the extension and nothing else; its address."""
    assert HOST is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, extensions = folder / "data", folder / "extensions"
    settings = data / "User" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"security.workspace.trust.enabled": false, "editor.fontSize": 14}')
    places = ["--user-data-dir", str(data), "--extensions-dir", str(extensions)]
    environ = {**os.environ, "UMAD_SOCKET": str(umad_socket), "HOME": str(folder)}
    subprocess.run(
        [HOST, *places, "--install-extension", str(VSIX)], env=environ, check=True, timeout=START_S
    )
    command = [HOST, *places, "--auth", "none", "--bind-addr", f"127.0.0.1:{port}"]
    command += ["--disable-telemetry", "--disable-update-check"]
    server = subprocess.Popen(command, env=environ)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(address: str) -> None:
    end = time.perf_counter() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert time.perf_counter() < end, "code-server does not answer"
            time.sleep(0.2)


def test_grey_text_appears_and_tab_takes_it(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    from tests.browser.browsing import chromium  # noqa: PLC0415  # needs playwright

    project = tmp_path / "project"
    project.mkdir()
    file = project / "f.py"
    file.write_text("x = ")
    umad_socket = tmp_path / "s"
    with (
        daemon_thread(str(umad_socket), Model(CODER, "value + 1").script, within_s=3 * START_S),
        code_server(tmp_path, umad_socket) as address,
        chromium() as browser,
    ):
        page = browser.new_page()
        page.goto(f"{address}/?folder={project}")
        page.get_by_role("treeitem", name="f.py").dblclick(timeout=SHOWN_MS)
        editor = page.locator(".monaco-editor .view-lines").first
        editor.click(timeout=SHOWN_MS)
        page.keyboard.press("Control+End")
        page.keyboard.type("y + ")
        ghost = page.locator(".ghost-text-decoration, .ghost-text").first
        playwright.expect(ghost).to_contain_text("value + 1", timeout=SHOWN_MS)
        page.screenshot(path=str(tmp_path / "ghost.png"))
        page.keyboard.press("Tab")
        page.keyboard.press("Control+S")
        end = time.perf_counter() + START_S
        while "value + 1" not in file.read_text():
            assert time.perf_counter() < end, file.read_text()
            time.sleep(0.1)

    assert file.read_text() == "x = y + value + 1"
