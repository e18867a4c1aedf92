"""Builds the ASGI application: the endpoints of every dialect behind one door.

    app = create_app(HttpSettings(), AsyncClient(socket))

Not: the process around it (`umad.gateway.serving`).
"""

import os
import socket
import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from umad.cache_path import cache_folder
from umad.config import HttpSettings, LimitSettings, MediaSettings
from umad.gateway.aliases import Aliases
from umad.gateway.counts import Counts
from umad.gateway.dialects import ENDPOINTS
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.dispatch import Served
from umad.gateway.door.agents import naming
from umad.gateway.door.cross_origin import CrossOrigin
from umad.gateway.door.entrance import entrance
from umad.gateway.door.hosts import HostRule, names_of
from umad.gateway.door.keys import Keyring, read_keys
from umad.gateway.door.places import Bodies, Places
from umad.gateway.door.quotas import Quotas
from umad.gateway.following import JobFollowers
from umad.gateway.model_facts import ModelFactsCache
from umad.gateway.near_path import served_paths
from umad.gateway.openapi import docs_of
from umad.gateway.presets import Presets
from umad.gateway.remote.files import RemoteFiles
from umad.gateway.responses_store import ResponsesStore
from umad.gateway.shared import Shared
from umad.gateway.spans import Spans
from umad.gateway.token_bytes import TokenBytes
from umad.gateway.unrouted import Unrouted
from umad.gateway.watchers import Watchers
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
    presets: Presets | None = None,
    media: MediaSettings | None = None,
) -> Starlette:
    """Make one gateway's application. `keys` are those of `settings.api_key_file` if not given.

    `any_host` and `any_address` say which Hosts are accepted (`door.hosts.HostRule`). `verbose`:
    log prompts and completions. `spans` makes traces. `most_tokens` is the daemon's limit of an
    answer. `media`: whether and how addresses of images are fetched.
    """
    if keys is None:
        path = settings.api_key_file
        keys = Keyring() if path is None else read_keys(Path(path).expanduser())
    rule = HostRule(
        names=(*settings.hosts, *names_of(socket.gethostname())),
        origins=settings.cors_origins,
        # A page in a browser has no certificate of a team.
        any_host=any_host or not keys.is_open or settings.team is not None,
        any_address=any_address,
    )
    shared = Shared(
        settings=settings,
        service=service,
        aliases=Aliases(settings.aliases),
        presets=presets or Presets(),
        entrance=entrance(
            keys=keys,
            hosts=rule,
            all_users=settings.all_users,
            exposed=settings.exposed,
            team=settings.team is not None,
        ),
        quotas=Quotas(most_tokens=most_tokens),
        places=Places(settings.concurrency),
        bodies=Bodies(BODIES_FACTOR * settings.body_bytes),
        remote=RemoteFiles(media or MediaSettings()),
        counts=Counts(),
        models=ModelFactsCache(service),
        token_bytes=TokenBytes(service),
        store=ResponsesStore(_store_path(settings), limit_bytes=settings.store_bytes),
        watchers=Watchers(),
        jobs=JobFollowers(),
        verbose=verbose,
        spans=spans,
        app_name=naming(),
    )
    endpoints = (*ENDPOINTS, *docs_of(ENDPOINTS, OPENAI))
    unrouted = Unrouted(rule, served_paths((one.method, one.path) for one in endpoints))
    app = Starlette(
        routes=[
            Route(one.path, Served(one, shared), methods=[one.method], name=one.summary)
            for one in endpoints
        ],
        middleware=[Middleware(CrossOrigin, rule=rule, refused=unrouted.preflight)],
        exception_handlers={HTTPException: unrouted.answer},
    )
    # A path with a slash at its end is another path, and the 404 names the right one. A redirect
    # would lose the body of a POST in many clients.
    app.router.redirect_slashes = False
    app.state.shared = shared
    return app


def _store_path(settings: HttpSettings) -> Path:
    if settings.store is not None:
        return Path(settings.store).expanduser()
    return cache_folder(os.environ, sys.platform) / "responses.sqlite3"
