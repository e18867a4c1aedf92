"""Searching the hub: the real client against a server of this machine, which answers as it does."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from typing_extensions import override

PROGRAM = """
import json, sys
from dataclasses import asdict
from umad.errors import UmadError
from umad.models.hub_search import search_hub
assert "huggingface_hub" not in sys.modules
try:
    print(json.dumps([asdict(one) for one in search_hub("fox", limit=3)]))
except UmadError as error:
    print(json.dumps({"code": error.code, "message": error.message}))
"""
ROWS = [
    {
        "_id": "1",
        "id": "org/Fox-3B-GGUF",
        "modelId": "org/Fox-3B-GGUF",
        "downloads": 5000,
        "likes": 7,
        "gated": "manual",
        "tags": ["gguf", "license:apache-2.0"],
        "gguf": {"total": 3_000_000_000, "architecture": "llama", "context_length": 4096},
    },
    {"_id": "2", "id": "me/fox", "modelId": "me/fox", "tags": []},
]


class Hub(BaseHTTPRequestHandler):
    """Answers the one address that a search asks."""

    status: ClassVar[int] = 200
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = json.dumps(ROWS if self.status == 200 else {"error": "no"}).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def hub(status: int = 200) -> Iterator[str]:
    Hub.status, Hub.asked = status, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client keeps files in its home, and not in the developer's."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))


def search(**variables: str) -> object:
    kept = ("HF_HOME",)
    environ = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("HF_") or name in kept
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environ | variables | {"no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_repositories_come_with_what_a_person_chooses_by() -> None:
    with hub() as address:
        found = search(HF_ENDPOINT=address)
        asked = parse_qs(urlsplit(Hub.asked[0]).query)

    assert isinstance(found, list)
    assert found[0] == {
        "name": "org/Fox-3B-GGUF",
        "downloads": 5000,
        "likes": 7,
        "licence": "apache-2.0",
        "is_gated": True,
        "n_params": 3_000_000_000,
        "architecture": "llama",
        "context_tokens": 4096,
    }
    assert (found[1]["name"], found[1]["n_params"]) == ("me/fox", None)
    assert len(Hub.asked) == 1, "nothing is asked that a search does not need"
    assert asked["search"] == ["fox"]
    assert "gguf" in asked["filter"]


def test_a_hub_that_refuses_is_one_line() -> None:
    with hub(status=403) as address:
        said = search(HF_ENDPOINT=address)

    assert isinstance(said, dict)
    assert said["code"] == "fetch_failed"
    assert "refuses the search with status 403" in said["message"]


def test_no_network_is_one_line() -> None:
    said = search(HF_ENDPOINT="http://127.0.0.1:1")

    assert isinstance(said, dict)
    assert "cannot be reached" in said["message"]
    assert "\n" not in said["message"]


def test_a_server_that_is_no_hub_is_one_line() -> None:
    ROWS.append({"name": "a row without an id"})
    try:
        with hub() as address:
            said = search(HF_ENDPOINT=address)
    finally:
        ROWS.pop()

    assert isinstance(said, dict)
    assert "does not answer as a hub does" in said["message"]


def test_offline_mode_asks_nobody() -> None:
    with hub() as address:
        said = search(HF_ENDPOINT=address, HF_HUB_OFFLINE="1")
        asked = list(Hub.asked)

    assert isinstance(said, dict)
    assert "HF_HUB_OFFLINE" in said["message"]
    assert asked == []
