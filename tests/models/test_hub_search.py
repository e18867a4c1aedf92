"""Searching the hub: the real client against a server of this machine, which answers as it does."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from huggingface_hub import close_session, constants
from typing_extensions import override

from umad.errors import FetchFailed
from umad.models.hub_search import search_hub

ROWS: list[dict[str, Any]] = [
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
    tokens: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.tokens.append(self.headers["Authorization"])
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
    Hub.status, Hub.asked, Hub.tokens = status, [], []
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
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The client as on an empty machine: no login, nothing between it and this machine."""
    for name in (
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield
    close_session()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the address that HF_ENDPOINT would have set at start."""
    return lambda address: monkeypatch.setattr(constants, "ENDPOINT", address)


def test_repositories_come_with_what_a_person_chooses_by(endpoint: Callable[[str], None]) -> None:
    with hub() as address:
        endpoint(address)
        fox, bare = search_hub("fox", limit=3)

    assert len(Hub.asked) == 1, "nothing is asked that a search does not need"
    wanted = parse_qs(urlsplit(Hub.asked[0]).query)
    assert (fox.name, fox.downloads, fox.likes) == ("org/Fox-3B-GGUF", 5000, 7)
    assert (fox.licence, fox.is_gated, fox.architecture) == ("apache-2.0", True, "llama")
    assert (fox.n_params, fox.context_tokens) == (3_000_000_000, 4096)
    assert (bare.name, bare.n_params, bare.licence) == ("me/fox", None, "")
    assert (wanted["search"], wanted["filter"], wanted["limit"]) == (["fox"], ["gguf"], ["3"])
    assert Hub.tokens == [None]


def test_a_token_is_sent_where_the_person_has_one(
    endpoint: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    with hub() as address:
        endpoint(address)
        search_hub("fox", limit=3)

    assert Hub.tokens == ["Bearer hf_mine"]


def test_a_token_stays_here_where_the_person_says_so(
    endpoint: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with hub() as address:
        endpoint(address)
        search_hub("fox", limit=3)

    assert Hub.tokens == [None]


def test_figures_that_are_none_are_not_known(
    endpoint: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROWS[1], "gguf", {"total": "many", "context_length": [1]})
    with hub() as address:
        endpoint(address)
        _, bare = search_hub("fox", limit=3)

    assert (bare.n_params, bare.context_tokens) == (None, None)


@pytest.mark.parametrize("status", [403, 429, 500])
def test_a_hub_that_refuses_is_one_line(endpoint: Callable[[str], None], status: int) -> None:
    with hub(status=status) as address:
        endpoint(address)
        with pytest.raises(FetchFailed, match=f"refuses the search with status {status}"):
            search_hub("fox", limit=3)


def test_no_network_is_one_line_at_once(endpoint: Callable[[str], None]) -> None:
    endpoint("http://127.0.0.1:1")

    with pytest.raises(FetchFailed, match="cannot be reached") as caught:
        search_hub("fox", limit=3)

    assert "\n" not in caught.value.message


def test_a_server_that_is_no_hub_is_one_line(
    endpoint: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ROWS[1], "id")
    with hub() as address:
        endpoint(address)
        with pytest.raises(FetchFailed, match="does not answer as a hub does"):
            search_hub("fox", limit=3)


def test_offline_mode_asks_nobody(
    endpoint: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub() as address:
        endpoint(address)
        with pytest.raises(FetchFailed, match="HF_HUB_OFFLINE"):
            search_hub("fox", limit=3)

    assert Hub.asked == []


def test_neither_the_daemon_nor_the_commands_import_the_client_before_it_is_needed() -> None:
    program = (
        "import sys, umad.cli.serve, umad.cli.stored, umad.cli.run, umad.cli.search; "
        "found = {'huggingface_hub', 'httpx2', 'filelock'} & set(sys.modules); "
        "sys.exit(', '.join(found) or 0)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
