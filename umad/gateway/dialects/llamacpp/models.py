"""Serves llama-server's list of models, its loading and unloading, its downloads and removals, and
the news of /models/sse.

Source: llama.cpp's tools/server/README.md, "Using multiple models". A download is a job, under the
name that it was asked for by. It goes on when everybody has gone; unloading that name ends it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp

from umad.errors import BadRequest
from umad.gateway import sse
from umad.gateway.bodies.llamacpp import LoadBody
from umad.gateway.dialects.openai.models import aliases_of, rows_of
from umad.gateway.errors import Crowded
from umad.gateway.following import is_over
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.model_entries import entry_of, status_of

# The daemon is asked so often what has changed.
LOOK_S = 1.0
# Each open stream asks for itself.
MOST_STREAMS = 32
Row = Mapping[str, Any]


async def models(call: GatewayCall) -> ASGIApp:
    """List the models with their states, and those that are being downloaded."""
    rows = await rows_of(call)
    entries = [
        {
            **entry_of(name, row, aliases=aliases_of(name, rows)),
            # Only admins are shown files.
            **({"path": row["path"]} if row.get("path") else {}),
        }
        for name, row in rows
    ]
    coming = [
        {
            "id": job["asked"],
            "object": "model",
            "owned_by": "umad",
            "status": {"value": "downloading", "progress": _progress(job)},
        }
        for job in await _downloads(call)
        if not is_over(job)
    ]
    return answer({"object": "list", "data": [*entries, *coming]})


async def load(call: GatewayCall) -> ASGIApp:
    """Load a model, and answer once it is loaded."""
    await call.service.load(call.body(LoadBody).model)
    call.shared.models.forget()
    return answer({"success": True})


async def unload(call: GatewayCall) -> ASGIApp:
    """Unload a model, or end its download."""
    body = call.body(LoadBody)
    coming = [one for one in await _downloads(call) if not is_over(one)]
    job = next((one for one in coming if one["asked"] == body.model), None)
    if job is not None:
        await call.service.cancel_job(str(job["job"]))
        return answer({"success": True})
    await call.service.unload(await call.local(body.model) or body.model)
    call.shared.models.forget()
    return answer({"success": True})


async def download(call: GatewayCall) -> ASGIApp:
    """Begin to download a model, and answer at once."""
    await call.service.pull(call.body(LoadBody).model)
    return answer({"success": True})


async def remove(call: GatewayCall) -> ASGIApp:
    """Delete a model that umad keeps."""
    model = call.request.query_params.get("model", "")
    if not model:
        raise BadRequest("model is missing: DELETE /models?model=NAME", field="model")
    removed = await call.service.remove_model(model)
    call.shared.watchers.note_removed(str(removed["name"]))
    return answer({"success": True})


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
        # Every model that was told of here. Others are not for users to hear of.
        told_of: set[str] = set()
        # What became of downloads before is no news.
        jobs = {str(one["job"]): one for one in await _downloads(call) if is_over(one)}
        n_removed = watchers.n_removed
        while not watchers.closing.is_set():
            now = {str(row["name"]): status_of(row) for row in await call.service.models()}
            for name, status in now.items():
                if known.get(name) != status:
                    told = {**status, "status": status["value"]}
                    del told["value"]
                    yield _event(name, "model_status", told)
            for name in known.keys() - now.keys():
                yield _event(name, "model_status", {"status": "unloaded"})
            known = now
            told_of |= now.keys()
            current = await _downloads(call)
            for job in current:
                if (said := _news_of(jobs.get(str(job["job"])), job)) is not None:
                    yield said
            jobs = {str(one["job"]): one for one in current}
            for name in watchers.removed_since(n_removed):
                if call.caller.asker.is_admin or name in told_of:
                    yield _event(name, "model_remove")
            n_removed = watchers.n_removed
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(watchers.closing.wait(), LOOK_S)
    finally:
        watchers.n -= 1


def _news_of(before: Row | None, job: Row) -> bytes | None:
    """What to say of a download since the last look."""
    if before is not None and before["version"] == job["version"]:
        return None
    name = str(job["asked"])
    match job["state"]:
        case "queued" | "running":
            return _event(name, "download_progress", _progress(job))
        case "done":
            return _event(name, "download_finished")
        case _:
            return _event(name, "download_failed")


def _progress(job: Row) -> dict[str, Any]:
    return {part["name"]: {"done": part["done"], "total": part["total"]} for part in job["parts"]}


async def _downloads(call: GatewayCall) -> Sequence[Row]:
    """The pulls that the caller may see."""
    return [one for one in await call.service.jobs() if one["kind"] == "pull"]


def _event(model: str, event: str, told: dict[str, Any] | None = None) -> bytes:
    data = {} if told is None else {"data": told}
    return sse.data({"model": model, "event": event, **data})
