"""Serves llama-server's list of models, its loading and unloading, and the news of /models/sse.

Not: downloading a model, which is refused.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.types import ASGIApp

from umad.errors import Unsupported
from umad.gateway import sse
from umad.gateway.bodies.llamacpp import LoadBody
from umad.gateway.dialects.openai.models import entry_of, rows_of
from umad.gateway.errors import Crowded
from umad.gateway.gateway_call import GatewayCall, answer

# The daemon is asked so often what has changed.
LOOK_S = 1.0
# Each open stream asks for itself.
MOST_STREAMS = 32
_STATUS = {"starting": "loading", "ready": "loaded", "dead": "loading", "draining": "unloaded"}
# llama-server's names of facts, and umad's.
_META = {
    "n_vocab": "n_vocab",
    "n_ctx_train": "n_ctx_train",
    "n_embd": "n_embd",
    "n_params": "n_params",
    "size": "size_bytes",
}


def _status(row: Mapping[str, Any]) -> dict[str, Any]:
    """A model's state in llama-server's words."""
    state = str(row.get("state"))
    status: dict[str, Any] = {"value": _STATUS.get(state, "unloaded")}
    return {**status, "failed": True} if state == "failed" else status


async def models(call: GatewayCall) -> ASGIApp:
    """List the models with their states."""
    entries = [
        {
            **entry_of(name, row),
            "status": _status(row),
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
            "meta": {ours: row.get(theirs) for ours, theirs in _META.items()},
            # Only admins are shown files.
            **({"path": row["path"]} if row.get("path") else {}),
        }
        for name, row in await rows_of(call)
    ]
    return answer({"object": "list", "data": entries})


async def load(call: GatewayCall) -> ASGIApp:
    """Load a model, and answer once it is loaded."""
    await call.service.load(call.body(LoadBody).model)
    call.shared.models.forget()
    return answer({"success": True})


async def unload(call: GatewayCall) -> ASGIApp:
    """Unload a model."""
    body = call.body(LoadBody)
    await call.service.unload(await call.local(body.model) or body.model)
    call.shared.models.forget()
    return answer({"success": True})


async def download(call: GatewayCall) -> ASGIApp:
    """Refuse to download or delete."""
    raise Unsupported("models are not downloaded or deleted; umad load FILE loads a GGUF file")


async def news(call: GatewayCall) -> ASGIApp:
    """Stream what happens to models, beginning with the state of each."""
    shared = call.shared
    if shared.watchers.n >= MOST_STREAMS:
        raise Crowded(f"{MOST_STREAMS} streams of news are open; close one")
    return call.stream(_news(call))


async def _news(call: GatewayCall) -> AsyncGenerator[bytes, None]:
    watchers = call.shared.watchers
    watchers.n += 1
    try:
        known: dict[str, dict[str, Any]] = {}
        while not watchers.closing.is_set():
            now = {str(row["name"]): _status(row) for row in await call.service.models()}
            for name, status in now.items():
                if known.get(name) != status:
                    told = {**status, "status": status["value"]}
                    del told["value"]
                    yield _event(name, told)
            for name in known.keys() - now.keys():
                yield _event(name, {"status": "unloaded"})
            known = now
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(watchers.closing.wait(), LOOK_S)
    finally:
        watchers.n -= 1


def _event(model: str, told: dict[str, Any]) -> bytes:
    return sse.data({"model": model, "event": "model_status", "data": told})
