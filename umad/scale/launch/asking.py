"""Asks a machine whether it is well, and how many tokens each key had.

TLS with the machine's own certificate: the authority that signed it is in the deployment's folder,
and its name is the deployment's, whatever address it has. Nothing is sent before that was checked.
Blocks for seconds at most. Owner: anybody's thread.
"""

import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from umad.errors import ConnectionLost, Refused
from umad.scale.launch import usage
from umad.scale.launch.usage import KeyUsage

_ASKED_S = 10.0
_MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A machine to ask."""

    # HOST:PORT.
    address: str
    # The name in its certificate.
    name: str
    # The authority's certificate; None is plain HTTP, as on this machine.
    authority: Path | None
    # A certificate of our own with its key, where it asks for one.
    own: Path | None = None
    key: str | None = None


def is_healthy(box: Box) -> bool:
    """Whether its engine answers that it is."""
    try:
        return _asked(box, "/health")[0] == 200
    except ConnectionLost:
        return False


def key_usage(box: Box, engine: str) -> dict[str, KeyUsage]:
    """Tokens by key. Raises `ConnectionLost`, `Refused`, `FetchFailed`."""
    path = "/umad/usage" if engine == "vllm" else "/metrics"
    status, text = _asked(box, path)
    if status in (401, 403):
        raise Refused(f"{box.name} does not take its key: it was started with another one")
    if status != 200:
        raise ConnectionLost(f"{box.name} answers {status} at {path}")
    return usage.of_meter(text) if engine == "vllm" else usage.of_sglang(text)


def _asked(box: Box, path: str) -> tuple[int, str]:
    host, _, port = box.address.removeprefix("http://").rpartition(":")
    headers = {"Authorization": f"Bearer {box.key}"} if box.key else {}
    connection = _connection(box, host, int(port))
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(_MOST_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionLost(f"{box.name} at {box.address} does not answer: {error}") from None
    finally:
        connection.close()


def _connection(box: Box, host: str, port: int) -> http.client.HTTPConnection:
    if box.authority is None:
        return http.client.HTTPConnection(host, port, timeout=_ASKED_S)
    context = ssl.create_default_context(cafile=str(box.authority))
    if box.own is not None:
        context.load_cert_chain(str(box.own))
    return _ByName(host, port, name=box.name, context=context)


class _ByName(http.client.HTTPSConnection):
    """Looks for another name in the certificate than the address, which changes."""

    def __init__(self, host: str, port: int, *, name: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=_ASKED_S, context=context)
        self._certified = name
        self._tls = context

    @override
    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._certified)
