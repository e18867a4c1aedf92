"""`umad lsp` driven by pytest-lsp, in an environment of its own: `make clients-test`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.scripted_daemon import daemon_thread
from tests.lsp.test_server import CODER, Model
from tests.packages.test_programs import PATIENCE_S, PYTHON

pytestmark = pytest.mark.timeout(300)


def test_editors_of_two_kinds_are_served(short_tmp_path: Path) -> None:
    assert PYTHON, "CLIENTS_PYTHON names no interpreter; make clients-test does"
    path = str(short_tmp_path / "s")
    server = [sys.executable, "-m", "umad", "lsp", "--socket", path]
    editors = str(Path(__file__).with_name("lsp_editor.py"))

    with daemon_thread(path, Model(CODER).script, within_s=PATIENCE_S):
        done = subprocess.run(
            [PYTHON, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", editors],
            env=os.environ | {"UMAD_LSP_COMMAND": json.dumps(server)},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    assert done.returncode == 0, done.stdout[-3000:]
    assert "2 passed" in done.stdout
