"""Builds the ASGI application: the endpoints of every dialect behind one door.

    app = create_app(HttpSettings(), AsyncClient(socket))

Not: the process around it (`umad.gateway.serving`).
"""

import os
import socket
import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from umad.cache_path import cache_folder
from umad.config import HttpSettings, LimitSettings
from umad.gateway.aliases import Aliases
from umad.gateway.counts import Counts
from umad.gateway.dialects import DIALECT_OF_PREFIX, ENDPOINTS
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.dispatch import Served, refuse
from umad.gateway.door.agents import naming
from umad.gateway.door.entrance import entrance
from umad.gateway.door.hosts import HostRule
from umad.gateway.door.keys import Keyring, read_keys
from umad.gateway.door.places import Bodies, Places
from umad.gateway.door.quotas import Quotas
from umad.gateway.errors import NoSuchPath, WrongMethod
from umad.gateway.model_facts import ModelFactsCache
from umad.gateway.openapi import docs_of
from umad.gateway.request_ids import request_id_of
from umad.gateway.responses_store import ResponsesStore
from umad.gateway.shared import Shared
from umad.gateway.spans import Spans
from umad.gateway.token_bytes import TokenBytes
from umad.service import Service

# Bytes of all bodies at once, in the largest ones. A chat has a hundredth of that.
BODIES_FACTOR = 16


def create_app(
    settings: HttpSettings,
    service: Service,
    *,
    keys: Keyring | None = None,
    any_host: bool = False,
    any_address: bool = False,
    verbose: bool = False,
    spans: Spans | None = None,
    most_tokens: int = LimitSettings().max_tokens,
) -> Starlette:
    """Make one gateway's application. `keys` are those of `settings.api_key_file` if not given.

    `any_host` and `any_address` say which Hosts are accepted (`door.hosts.HostRule`). `verbose`:
    log prompts and completions. `spans` makes traces. `most_tokens` is the daemon's limit of an
    answer.
    """
    if keys is None:
        path = settings.api_key_file
        keys = Keyring() if path is None else read_keys(Path(path).expanduser())
    shared = Shared(
        settings=settings,
        service=service,
        aliases=Aliases(settings.aliases),
        entrance=entrance(
            keys=keys,
            hosts=HostRule(
                names=(*settings.hosts, *(_own_names() if any_address else ())),
                origins=settings.cors_origins,
                any_host=any_host or not keys.is_open,
                any_address=any_address,
            ),
            all_users=settings.all_users,
            exposed=settings.exposed,
        ),
        quotas=Quotas(most_tokens=most_tokens),
        places=Places(settings.concurrency),
        bodies=Bodies(BODIES_FACTOR * settings.body_bytes),
        counts=Counts(),
        models=ModelFactsCache(service),
        token_bytes=TokenBytes(service),
        store=ResponsesStore(_store_path(settings), limit_bytes=settings.store_bytes),
        verbose=verbose,
        spans=spans,
        app_name=naming(),
    )
    # Starlette answers preflights with this list; the door decides who may ask.
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "DELETE", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "retry-after"],
    )
    app = Starlette(
        routes=[
            Route(one.path, Served(one, shared), methods=[one.method], name=one.summary)
            for one in (*ENDPOINTS, *docs_of(ENDPOINTS, OPENAI))
        ],
        middleware=[cors] if settings.cors_origins else [],
        exception_handlers={HTTPException: _unrouted},
    )
    app.state.shared = shared
    return app


def _own_names() -> tuple[str, ...]:
    """The names of this machine on the network; no foreign page has such a name."""
    name = socket.gethostname().lower()
    return (name, f"{name.partition('.')[0]}.local")


def _store_path(settings: HttpSettings) -> Path:
    if settings.store is not None:
        return Path(settings.store).expanduser()
    return cache_folder(os.environ, sys.platform) / "responses.sqlite3"


async def _unrouted(request: Request, error: Exception) -> Response:
    """Refuse an unknown path or method, in the shape of the dialect that the path looks like."""
    path = request.url.path
    dialect = next(one for prefix, one in DIALECT_OF_PREFIX if path.startswith(prefix))
    wrong_method = isinstance(error, HTTPException) and error.status_code == 405
    said = (
        WrongMethod(f"{request.method} is not for {path[:128]}")
        if wrong_method
        else NoSuchPath(f"nothing is served at {path[:128]}; /docs lists what is")
    )
    request_id = request_id_of(Headers(scope=request.scope).get("x-request-id"))
    response = refuse(said, dialect, request_id)
    response.headers["x-request-id"] = request_id
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})  # of a 405, what is allowed
    return response
