"""Lets machines join: the router's side of `umad node join`, and the machine's.

    GET /authority   the certificate of the team's authority; the machine holds it against its token
    POST /join       {secret, request, port, host, kind}: the machine is a member, and gets
                     {name, number, certificate}

Everything goes over TLS. A machine that joins trusts nobody yet: what it asks first says only who
answers. Only then, to a router that has the certificate of the token, it shows its secret. Its key
never leaves it.
Not: who may join (`umad.router.invitations`), nor certificates (`umad.router.authority`).
Owner: the router's event loop; the machine's side blocks.
"""

import asyncio
import contextlib
import datetime
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from typing_extensions import override

from umad.errors import BadConfig, BadRequest, ConnectionLost, Refused, UmadError
from umad.private_file import write_own
from umad.router.authority import (
    TeamAuthority,
    certificate_request,
    check_issued,
    fingerprint_of,
)
from umad.router.haproxy.values import check_host, check_port
from umad.router.invitations import Invitations, Token
from umad.router.members import ROUTER, MembersFile, NodeKind

_MOST_BODY_BYTES = 32_768
_MOST_ANSWER_BYTES = 65_536
# Joining is rare. Whoever holds connections open keeps others from joining, and from nothing else.
_MOST_AT_ONCE = 32
_WITHIN_S = 20.0
NODE_PORT: Final = 8443
_FIELDS: Final = frozenset({"secret", "request", "port", "host", "kind"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What came of joining."""

    name: str
    number: int


def join_app(
    authority: TeamAuthority,
    invitations: Invitations,
    members: MembersFile,
    *,
    now: Callable[[], datetime.datetime],
) -> Starlette:
    """The router's side, as an application."""

    def joined(said: Mapping[str, Any], peer: str) -> dict[str, Any]:
        secret, request = _text(said, "secret"), _text(said, "request")
        port, host = said.get("port", NODE_PORT), said.get("host") or peer
        kind = said.get("kind", NodeKind.UMAD.value)
        if not isinstance(kind, str) or kind not in {one.value for one in NodeKind}:
            raise BadRequest("kind is none that umad knows", field="kind")
        if isinstance(port, bool) or not isinstance(port, int) or not isinstance(host, str):
            raise BadRequest("port is no number, or host no text", field="port")
        now_s = int(now().timestamp())
        name = invitations.name_of(secret, now_s=now_s)
        check_host(host)
        check_port(port)
        certificate = authority.certify(name, request.encode(), now=now())
        # From here on the token is used: of two machines that show it, one is refused here.
        invitations.use(secret, now_s=now_s)
        member = members.put(name, host=host, port=port, kind=NodeKind(kind))
        return {"name": name, "number": member.number, "certificate": certificate.decode()}

    async def join(request: Request) -> Response:
        try:
            async with asyncio.timeout(_WITHIN_S):
                said = await _body(request)
            peer = request.client.host if request.client is not None else ""
            return JSONResponse(await asyncio.to_thread(joined, said, peer))
        except TimeoutError:
            return _refused(BadRequest("the request took too long"), 408)
        except Refused as error:
            return _refused(error, 403)
        except BadRequest as error:
            return _refused(error, 400)
        except UmadError as error:
            return _refused(error, 503)

    async def root(request: Request) -> Response:
        return PlainTextResponse(authority.certificate)

    return Starlette(
        routes=[Route("/authority", root, methods=["GET"]), Route("/join", join, methods=["POST"])]
    )


class JoinServer(uvicorn.Server):
    """Serves an application on the router's loop, and leaves its signals alone."""

    def __init__(self, app: Starlette, *, own: Path) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ssl_certfile=str(own),
                ssl_keyfile=str(own),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                limit_concurrency=_MOST_AT_ONCE,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=2,
            )
        )

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


# -- the machine that joins ------------------------------------------------------------------------


def join_team(
    address: str,
    token: Token,
    folder: Path,
    *,
    host: str | None = None,
    port: int = NODE_PORT,
    kind: NodeKind = NodeKind.UMAD,
) -> Joined:
    """Ask the router at HOST:PORT for a certificate, and write it into a folder.

    Raises Refused where the router is another one than the token's, or refuses the token;
    ConnectionLost where nobody answers; BadRequest for what the router finds wrong.
    """
    root = _get_authority(address)
    if fingerprint_of(root) != token.fingerprint:
        raise Refused(
            f"{address} is not the router that gave this token: its authority is another one. Is "
            "the address right?"
        )
    # The name in the request counts nothing: the router gives the name.
    key, request = certificate_request("node")
    said: dict[str, Any] = {
        "secret": token.secret,
        "request": request.decode(),
        "port": port,
        "kind": kind.value,
    }
    if host is not None:
        said["host"] = host
    answer = _post_join(address, root, said)
    try:
        name, number = str(answer["name"]), int(answer["number"])
        certificate = str(answer["certificate"]).encode()
    except (KeyError, ValueError, TypeError):
        raise ConnectionLost(f"{address} answers with something that is no certificate") from None
    check_issued(certificate, key=key, authority=root, name=name)
    files = {
        "own.pem": certificate + key,
        "cert.pem": certificate,
        "key.pem": key,
        "ca.pem": root,
    }
    try:
        for file, data in files.items():
            write_own(folder / file, data)
    except OSError as error:
        raise BadConfig(f"{error.filename}: {error.strerror}") from error
    return Joined(name=name, number=number)


def _get_authority(address: str) -> bytes:
    """What the router calls its authority. Nobody is trusted yet, so nothing is told here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _asked(address, context, "GET", "/authority", None)


def _post_join(address: str, root: bytes, said: Mapping[str, Any]) -> Mapping[str, Any]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=root.decode())
        answer = json.loads(_asked(address, context, "POST", "/join", said))
    except (ssl.SSLError, ValueError) as error:
        raise ConnectionLost(f"{address} answers with something else: {error}") from error
    if not isinstance(answer, Mapping):
        raise ConnectionLost(f"{address} answers with something else")
    return answer


def _asked(
    address: str, context: ssl.SSLContext, method: str, path: str, said: Mapping[str, Any] | None
) -> bytes:
    try:
        with (
            httpx2.Client(
                verify=context, trust_env=False, follow_redirects=False, timeout=_WITHIN_S
            ) as client,
            client.stream(
                method,
                f"https://{address}{path}",
                json=said,
                extensions={"sni_hostname": ROUTER},
            ) as response,
        ):
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if len(body) > _MOST_ANSWER_BYTES:
                    raise ConnectionLost(f"{address} answers with too much")
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise ConnectionLost(f"no router answers at {address}: {error}") from error
    if response.status_code != httpx2.codes.OK:
        raise _told(address, response.status_code, bytes(body))
    return bytes(body)


def _told(address: str, status: int, body: bytes) -> UmadError:
    """The router's refusal, as it said it."""
    try:
        said = json.loads(body)["error"]
        message = str(said["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return ConnectionLost(f"{address} answers with {status}; is a router of umad there?")
    return Refused(message) if status == 403 else BadRequest(message)


# -- requests --------------------------------------------------------------------------------------


async def _body(request: Request) -> Mapping[str, Any]:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BODY_BYTES:
            raise BadRequest("the request is too long")
    try:
        said = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise BadRequest("the request is no JSON") from None
    if not isinstance(said, dict) or not said.keys() <= _FIELDS:
        raise BadRequest(f"the request is no object of {', '.join(sorted(_FIELDS))}")
    return said


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise BadRequest(f"{name} is no plain text", field=name)
    return value


def _refused(error: UmadError, status: int) -> Response:
    said = {"code": error.code, "message": error.message, "field": error.field}
    return JSONResponse({"error": said}, status_code=status)
