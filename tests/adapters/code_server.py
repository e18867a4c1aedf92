"""A code-server with the packed extension, for tests. Not a test.

A second extension (`host_helper`) stands beside it: a test asks it to do in the extension host what
any extension could, such as a chat turn. The helper is packed here, since nothing else needs it.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
VSIX = ROOT / "adapters" / "vscode" / "dist" / "umad.vsix"
HOST = os.environ.get("CODE_SERVER") or shutil.which("code-server")
START_S = 120.0
_HELPER = Path(__file__).with_name("host_helper")
# What vsce writes; code-server reads the manifest within the package and these two.
_MANIFEST = """<?xml version="1.0" encoding="utf-8"?>
<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011">
<Metadata><Identity Language="en-US" Id="umad-host-helper" Version="0.0.1" Publisher="umad"/>
<DisplayName>helper</DisplayName><Description>helper</Description></Metadata>
<Installation><InstallationTarget Id="Microsoft.VisualStudio.Code"/></Installation>
<Dependencies/><Assets><Asset Type="Microsoft.VisualStudio.Code.Manifest"
Path="extension/package.json" Addressable="true"/></Assets></PackageManifest>
"""
_TYPES = """<?xml version="1.0" encoding="utf-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="json" ContentType="application/json"/>
<Default Extension="js" ContentType="application/javascript"/>
<Default Extension="vsixmanifest" ContentType="text/xml"/></Types>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A running code-server."""

    address: str
    # The daemon's socket, as the extension is told.
    umad_socket: Path
    _helper: Path

    def asks(self, what: str, **words: Any) -> Any:
        """Have the helper do it; waits for the editor to have started. Fails with its error."""
        end = time.perf_counter() + START_S
        while True:
            try:
                return self._ask({"do": what, **words})
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.perf_counter() < end, "no page has started the extensions"
                time.sleep(0.2)

    def _ask(self, question: dict[str, Any]) -> Any:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(START_S)
            asking.connect(os.fspath(self._helper))
            with asking.makefile("rw", encoding="utf-8") as lines:
                lines.write(json.dumps(question) + "\n")
                lines.flush()
                answer = json.loads(lines.readline())
        if "failed" in answer:
            raise HostError(answer["failed"])
        return answer.get("done")


class HostError(Exception):
    """What the extension host raised."""


@contextmanager
def code_server(folder: Path, *, trusts: bool) -> Iterator[Host]:
    """A code-server with both extensions and nothing else. trusts: it takes every workspace for
    trusted; else none is, and nobody is asked.
    """
    assert HOST is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, extensions = folder / "data", folder / "extensions"
    settings = data / "User" / "settings.json"
    settings.parent.mkdir(parents=True)
    chosen = {
        "security.workspace.trust.enabled": not trusts,
        "security.workspace.trust.startupPrompt": "never",
        "security.workspace.trust.banner": "never",
        "workbench.startupEditor": "none",
        # The chat's own input is an editor, too, and takes the keys.
        "workbench.secondarySideBar.defaultVisibility": "hidden",
        "editor.fontSize": 14,
    }
    settings.write_text(json.dumps(chosen))
    places = ["--user-data-dir", str(data), "--extensions-dir", str(extensions)]
    host = Host(
        address=f"http://127.0.0.1:{port}", umad_socket=folder / "u.sock", _helper=folder / "helper"
    )
    environ = {
        **os.environ,
        "HOME": str(folder),
        "UMAD_SOCKET": str(host.umad_socket),
        "UMAD_HOST_HELPER": str(folder / "helper"),
    }
    for vsix in (VSIX, _pack_helper(folder / "helper.vsix")):
        install = [HOST, *places, "--install-extension", str(vsix)]
        subprocess.run(install, env=environ, check=True, timeout=START_S)
    command = [HOST, *places, "--auth", "none", "--bind-addr", f"127.0.0.1:{port}"]
    command += ["--disable-telemetry", "--disable-update-check"]
    server = subprocess.Popen(command, env=environ)
    try:
        _wait_for(host.address)
        yield host
    finally:
        server.terminate()
        server.wait(30)


def _pack_helper(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("extension.vsixmanifest", _MANIFEST)
        package.writestr("[Content_Types].xml", _TYPES)
        for name in ("package.json", "main.js"):
            package.write(_HELPER / name, f"extension/{name}")
    return path


def _wait_for(address: str) -> None:
    end = time.perf_counter() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert time.perf_counter() < end, "code-server does not answer"
            time.sleep(0.2)
