"""Serves stored responses: reads one, lists its input items, deletes it.

Not: storing them (`responses`, `umad.gateway.responses_store`).
"""

import json
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp

from umad.errors import BadRequest, Unsupported
from umad.gateway.dialects.openai.error_shape import OPENAI_RESPONSES
from umad.gateway.endpoint import Endpoint
from umad.gateway.errors import NotFound
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.responses_store import Stored

_PAGE = 20
_LARGEST_PAGE = 100


async def _stored(call: GatewayCall) -> tuple[str, Stored]:
    response_id = call.request.path_params["id"]
    stored = await call.shared.store.get(response_id, call.owner)
    if stored is None:
        raise NotFound(f"no response {response_id[:128]!r} is kept", field="response_id")
    return response_id, stored


async def _get(call: GatewayCall) -> ASGIApp:
    _, stored = await _stored(call)
    if call.request.query_params.get("stream") == "true":
        raise Unsupported("a response is streamed while it is made, not again", field="stream")
    return answer(json.loads(stored.response))


async def _input_items(call: GatewayCall) -> ASGIApp:
    _, stored = await _stored(call)
    n_output = len(json.loads(stored.response)["output"])
    rows = json.loads(stored.items)
    items = [_item(at, row) for at, row in enumerate(rows[: len(rows) - n_output])]
    if _one_of(call, "order", ("desc", "asc")) == "desc":
        items.reverse()
    after = call.request.query_params.get("after")
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise BadRequest(f"after: no item {after[:64]!r}", field="after")
        items = items[ids.index(after) + 1 :]
    page = items[: _limit(call)]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
    return answer({"object": "list", "data": page, "has_more": len(page) < len(items), **ends})


def _one_of(call: GatewayCall, name: str, values: tuple[str, ...]) -> str:
    given = call.request.query_params.get(name, values[0])
    if given not in values:
        raise BadRequest(f"{name}: {' or '.join(values)}", field=name)
    return given


def _limit(call: GatewayCall) -> int:
    given = call.request.query_params.get("limit", str(_PAGE))
    if not (given.isdecimal() and 1 <= int(given[:9]) <= _LARGEST_PAGE):
        raise BadRequest(f"limit: 1 to {_LARGEST_PAGE}", field="limit")
    return int(given)


def _item(at: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """An item as a client sent it, in the form in which items are listed."""
    item = {"id": f"item_{at}", "status": "completed", **row}
    if item.get("type") == "message":
        is_answer = item.get("role") == "assistant"
        content = item.get("content") or ""
        parts = [{"text": content}] if isinstance(content, str) else content
        more: dict[str, Any] = {"annotations": []} if is_answer else {}
        kind = "output_text" if is_answer else "input_text"
        item["content"] = [{"type": kind, "text": part.get("text") or "", **more} for part in parts]
    elif item.get("type") == "reasoning":
        item["summary"] = []
    return item


async def _delete(call: GatewayCall) -> ASGIApp:
    response_id, _ = await _stored(call)
    await call.shared.store.delete(response_id, call.owner)
    return answer({"id": response_id, "object": "response", "deleted": True})


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/v1/responses/{id}",
        handle=_get,
        dialect=OPENAI_RESPONSES,
        summary="One response",
    ),
    Endpoint(
        method="DELETE",
        path="/v1/responses/{id}",
        handle=_delete,
        dialect=OPENAI_RESPONSES,
        summary="Forget a response",
    ),
    Endpoint(
        method="GET",
        path="/v1/responses/{id}/input_items",
        handle=_input_items,
        dialect=OPENAI_RESPONSES,
        summary="What a response answered",
    ),
)
