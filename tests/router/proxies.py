"""A real HAProxy before small servers that speak TLS with certificates on both sides."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from typing_extensions import override

from umad.router.haproxy import Front, Pool, Proxy, Server, Tls, render, render_models
from umad.router.haproxy.values import is_ip

HAPROXY = shutil.which("haproxy")
OPENSSL = shutil.which("openssl")
_BOUND_S = 30.0


class Authority:
    """A certificate authority with the certificates that it gives out, in a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key, self.path = folder / f"{name}.key", folder / f"{name}.pem"
        self._openssl(
            *("req", "-x509", "-days", "2", "-subj", f"/CN={name}"),
            *("-keyout", str(self._key), "-out", str(self.path)),
        )

    def certify(self, name: str) -> Path:
        """Certificate and key in one file, as HAProxy wants them."""
        key, asked, made, names = (
            self._folder / f"{self.path.stem}-{name}.{end}" for end in ("key", "csr", "crt", "ext")
        )
        kind = "IP" if is_ip(name) else "DNS"
        names.write_text(f"subjectAltName={kind}:{name}\n")
        self._openssl("req", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(asked))
        self._openssl(
            *("x509", "-req", "-in", str(asked), "-out", str(made), "-days", "2"),
            *("-CA", str(self.path), "-CAkey", str(self._key), "-CAcreateserial"),
            *("-extfile", str(names)),
        )
        both = made.with_suffix(".both")
        both.write_text(made.read_text() + key.read_text())
        return both

    @staticmethod
    def _openssl(kind: str, *arguments: str) -> None:
        assert OPENSSL is not None
        fresh = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        subprocess.run(
            [OPENSSL, kind, *(fresh if kind == "req" else ()), *arguments],
            check=True,
            capture_output=True,
            timeout=_BOUND_S,
        )


class Quiet(ThreadingHTTPServer):
    """Clients that TLS refuses are no news."""

    daemon_threads = True

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def node(
    name: str, certificate: Path, authority: Path, *, asked: list[tuple[str, int]] | None = None
) -> Iterator[int]:
    """A server that answers with its name; its port. asked: takes each method with the connection's
    other port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self._answer()

        def _answer(self) -> None:
            if asked is not None:
                asked.append((self.command, self.client_address[1]))
            body = json.dumps({"node": name}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(str(certificate))
    with Quiet(("127.0.0.1", 0), Handler) as server:
        # The handshake belongs to the connection's own thread.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(_BOUND_S)


class Running:
    """HAProxy as it runs."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy

    def tell(self, line: str) -> str:
        """A line for the admin socket, and its answer."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(_BOUND_S)
            admin.connect(self.proxy.admin_path)
            admin.sendall(line.encode())
            admin.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()

    def post(
        self, body: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and the node that answered."""
        connection = http.client.HTTPConnection(
            self.proxy.front.host, self.proxy.front.port, timeout=_BOUND_S
        )
        try:
            connection.request(
                "POST", "/v1/chat/completions", json.dumps(body), dict(headers or {})
            )
            try:
                answer = connection.getresponse()
            except http.client.RemoteDisconnected:
                return 0, ""  # HAProxy ends what waits for a node that its check finds dead
            text = answer.read()
            return answer.status, json.loads(text)["node"] if answer.status == 200 else ""
        finally:
            connection.close()


@contextmanager
def running(
    folder: Path,
    servers: Mapping[str, tuple[Server, ...]],
    *,
    tls: Tls,
    models: Mapping[str, str] | None = None,
    most_sessions: int = 1000,
) -> Iterator[Running]:
    """HAProxy with these pools, the first of them for requests that name no model."""
    assert HAPROXY is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    map_path, config_path = folder / "models.map", folder / "haproxy.cfg"
    map_path.write_text(render_models(models or {}))
    proxy = Proxy(
        front=Front(host="127.0.0.1", port=port),
        tls=tls,
        admin_path=str(folder / "admin.sock"),
        models_path=str(map_path),
        pools=tuple(Pool(name=name, servers=given) for name, given in servers.items()),
        default_pool=next(iter(servers)),
        most_connections=200,
        most_sessions=most_sessions,
    )
    config_path.write_text(render(proxy))
    process = subprocess.Popen(
        [HAPROXY, "-db", "-f", str(config_path)], stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_for(proxy, process)
        yield Running(proxy)
    finally:
        process.kill()
        process.communicate(timeout=_BOUND_S)


def _wait_for(proxy: Proxy, process: "subprocess.Popen[str]") -> None:
    deadline, pause = time.perf_counter() + _BOUND_S, threading.Event()
    while True:
        try:
            socket.create_connection((proxy.front.host, proxy.front.port), _BOUND_S).close()
            return
        except ConnectionRefusedError:
            if process.poll() is not None or time.perf_counter() > deadline:
                raise AssertionError(process.communicate()[1]) from None
            pause.wait(0.02)
