"""HTTP servers on loopback addresses that serve what a test says. Not a test."""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

# Stands for a server that may be asked, by `media.remote_networks`; the other one may not.
LISTED, UNLISTED = "127.0.0.2", "127.0.0.1"


@dataclass(slots=True)
class Page:
    """One answer of a server."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    # Runs behind the head and writes the body instead.
    write: Callable[[Any], object] | None = None


@dataclass(slots=True)
class FileServer:
    """A running server."""

    host: str
    port: int
    pages: dict[str, Page]
    # (path, Host) of every request that came.
    asked: list[tuple[str, str]]
    scheme: str = "http"

    def url(self, path: str, *, host: str | None = None) -> str:
        return f"{self.scheme}://{host or self.host}:{self.port}{path}"


@contextmanager
def file_server(
    host: str = LISTED, *, port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[FileServer]:
    pages: dict[str, Page] = {}
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Host", "")))
            page = pages.get(self.path, Page(status=404))
            self.send_response(page.status)
            headers = {"Content-Type": "image/png", **page.headers}
            if page.write is None and "Content-Length" not in headers:
                headers["Content-Length"] = str(len(page.body))
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            try:
                if page.write is not None:
                    page.write(self.wfile)
                else:
                    self.wfile.write(page.body)
            except OSError:
                pass  # the client has gone

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield FileServer(host, server.server_port, pages, asked, "http" if tls is None else "https")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
