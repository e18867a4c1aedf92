"""Asks nodes how they are, over TLS with certificates on both sides.

    umad          GET /metrics as JSON: its scorecard; GET /v1/models: what it has, and would load;
                  GET /status: facts of its models, and what it works on
    vLLM, SGLang, llama-server
                  GET /metrics as Prometheus text: their gauges; GET /v1/models: their names

A node is reached at its address, and has to show a certificate of the team's authority for its
name: another machine that answers there is refused. What it says is bounded in time and in size,
and checked by `umad.router.policy.reading`. A slow node delays nobody else.
Owner: the router's event loop.
"""

import asyncio
import ipaddress
import json
import math
import socket
import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from umad.clock import Clock
from umad.errors import BadConfig, BadRequest, UmadError
from umad.private_file import read_named
from umad.router.haproxy.values import Tls, address
from umad.router.members import Member, NodeKind
from umad.router.policy.gauges import Kind, reading_of_gauges
from umad.router.policy.reading import reading_of_scorecard
from umad.router.policy.settings import MOST_MODELS_OF_NODE
from umad.router.seams import Heard

_MOST_ANSWER_BYTES = 8 << 20
_MOST_KEY_BYTES = 4096
_MOST_CONNECTIONS = 512
_MOST_PROBLEM_CHARS = 300
_MOST_NAME_CHARS = 256
# In llama-server's words: a request for another one would load it first.
_LOADED: Final = frozenset({"loaded", "loading"})
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL. A machine whose clock is
# wrong finds certificates that are not valid yet, or no more.
_OF_TIME: Final = (9, 10)
_CLOCKS: Final = "; are the clocks of both machines right? If so, let it join again"
_KINDS: Final = {
    NodeKind.VLLM: Kind.VLLM,
    NodeKind.SGLANG: Kind.SGLANG,
    NodeKind.LLAMA_SERVER: Kind.LLAMA_SERVER,
}


class HttpsWatch:
    """A client of all nodes."""

    def __init__(self, tls: Tls, *, clock: Clock, within_s: float = 4.0) -> None:
        """Raises BadConfig where the certificates cannot be read."""
        self._clock = clock
        self._within_s = within_s
        try:
            # No authority but the team's own: one that everybody trusts certifies anybody.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_verify_locations(tls.authority_path)
            context.load_cert_chain(tls.own_path)
        except (OSError, ssl.SSLError) as error:
            raise BadConfig(
                f"the router's certificates cannot be read ({tls.own_path}, {tls.authority_path}): "
                f"{error.strerror or error}"
            ) from error
        self._client = httpx2.AsyncClient(
            verify=context,
            # No proxy of the environment, and nobody's redirections.
            trust_env=False,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=_MOST_CONNECTIONS, max_keepalive_connections=256),
            # Of each step. A handshake that this bound ends is closed; one that the bound of the
            # whole question ends is left to the garbage collector.
            timeout=within_s / 2,
        )

    async def ask(self, member: Member) -> Heard:
        """Ask one node. Never raises for what a node does or says."""
        asked_ns = self._clock.now_ns()
        host = ""
        try:
            async with asyncio.timeout(self._within_s):
                host = await _looked_up(member.host)
                heard = await self._heard(member, host, asked_ns)
        except TimeoutError:
            problem = f"it did not answer within {self._within_s:g} s"
        except UmadError as error:
            problem = error.message
        except (httpx2.HTTPError, OSError, ValueError) as error:
            problem = _words(error)
        else:
            return heard
        return Heard(
            node=member.name,
            asked_ns=asked_ns,
            reading=None,
            host=host,
            problem=problem[:_MOST_PROBLEM_CHARS],
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _heard(self, member: Member, host: str, asked_ns: int) -> Heard:
        listed = json.loads(await self._get(member, host, "/v1/models", "application/json"))
        if member.kind is NodeKind.UMAD:
            card = json.loads(await self._get(member, host, "/metrics", "application/json"))
            if not isinstance(card, Mapping):
                raise BadRequest("its scorecard is no object")
            loaded, loadable = _models(listed)
            reading = reading_of_scorecard(card, loadable=loadable)
            status = json.loads(await self._get(member, host, "/status", "application/json"))
            said = status if isinstance(status, Mapping) else {}
            return Heard(
                node=member.name,
                asked_ns=asked_ns,
                # Other names of a model that is loaded are names that a client may use.
                reading=replace(reading, loaded=reading.loaded | loaded),
                host=host,
                card=card,
                models=said.get("models"),
                requests=said.get("requests"),
            )
        text = await self._get(member, host, "/metrics", "text/plain")
        gauges = _gauges(text.decode())
        reading = reading_of_gauges(_KINDS[member.kind], gauges, models=_models(listed)[0])
        return Heard(node=member.name, asked_ns=asked_ns, reading=reading, host=host)

    async def _get(self, member: Member, host: str, path: str, accept: str) -> bytes:
        headers = {"accept": accept, "host": member.name}
        if member.key_file is not None:
            key = await asyncio.to_thread(_key, member.key_file)
            headers["authorization"] = f"Bearer {key}"
        request = self._client.build_request(
            "GET",
            f"https://{address(host, member.port)}{path}",
            headers=headers,
            # The name that its certificate has to be for.
            extensions={"sni_hostname": member.name},
        )
        response = await self._client.send(request, stream=True)
        try:
            if response.status_code != httpx2.codes.OK:
                raise BadRequest(f"it answers {path} with {response.status_code}{_hint(response)}")
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > _MOST_ANSWER_BYTES:
                    raise BadRequest(f"its {path} has more than {_MOST_ANSWER_BYTES >> 20} MiB")
            return bytes(body)
        finally:
            await response.aclose()


async def address_of(host: str) -> str:
    """The address of a host, in the form in which HAProxy shows it. Raises OSError."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    # The same one each time, whatever their order: else a server would move with each look.
    addresses = sorted(
        {ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found}, key=_rank
    )
    return str(addresses[0])


async def _looked_up(host: str) -> str:
    try:
        return await address_of(host)
    except (OSError, ValueError) as error:
        raise BadRequest(f"its address {host} cannot be looked up: {error}") from error


def _rank(one: "ipaddress.IPv4Address | ipaddress.IPv6Address") -> tuple[bool, int, bytes]:
    # An address of the link needs a zone, which HAProxy knows not.
    return one.is_link_local, one.version, one.packed


def _models(listed: object) -> tuple[frozenset[str], dict[str, int]]:
    """The models that are loaded, and the bytes of those that a request would load."""
    rows = listed.get("data") if isinstance(listed, Mapping) else None
    if not isinstance(rows, list):
        raise BadRequest("its /v1/models is no list of models")
    if len(rows) > MOST_MODELS_OF_NODE:
        raise BadRequest(f"its /v1/models has more than {MOST_MODELS_OF_NODE} models")
    loaded, loadable = set[str](), dict[str, int]()
    for row in rows:
        name = row.get("id") if isinstance(row, Mapping) else None
        if not isinstance(name, str) or not 0 < len(name) <= _MOST_NAME_CHARS:
            raise BadRequest("its /v1/models has a model without a name, or with a very long one")
        status = row.get("status")
        value = status.get("value") if isinstance(status, Mapping) else "loaded"
        if value in _LOADED:
            loaded.add(name)
        else:
            meta = row.get("meta")
            size = meta.get("size") if isinstance(meta, Mapping) else None
            loadable[name] = size if isinstance(size, int) and size >= 0 else 0
    return frozenset(loaded), loadable


def _gauges(text: str) -> dict[str, float]:
    """Values by name, each summed over its labels."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if math.isfinite(sample.value):
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def _key(path: str) -> str:
    try:
        return read_named(Path(path).expanduser(), _MOST_KEY_BYTES, secret=True).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BadConfig(f"its key cannot be read from {path}: {why}") from error


def _hint(response: Any) -> str:
    if response.status_code in (401, 403):
        return ": it wants a key with `role: admin`; name its file with --key-file"
    return ""


def _words(error: Exception) -> str:
    """What went wrong, for a person who looks at the list of nodes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            clocks = _CLOCKS if cause.verify_code in _OF_TIME else ""
            return f"its certificate is refused: {cause.verify_message}{clocks}"
        if isinstance(cause, ssl.SSLError):
            reason = cause.reason or str(cause)
            if "ALERT" in reason and "CERTIFICATE" in reason:
                return f"it refuses the router's certificate: {reason}{_CLOCKS}"
            return f"TLS failed: {reason}"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, ValueError):
        return f"what it said is no JSON: {error}"
    if isinstance(error, httpx2.ReadError | httpx2.RemoteProtocolError):
        # With TLS 1.3 a refusal comes after the handshake, and may be lost with the connection.
        return f"it ends the connection: it may refuse the router's certificate{_CLOCKS}"
    return str(error) or type(error).__name__
