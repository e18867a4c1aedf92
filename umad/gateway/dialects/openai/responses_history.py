"""Finds the items of a response's conversation: earlier turns, items that are only referred to, and
those of the body.

Not: what the items mean, nor their ids (`responses_items`).
"""

import json
from typing import Any

from umad.gateway.bodies.openai_responses import Item, ResponseBody
from umad.gateway.dialects.openai.responses_items import response_of
from umad.gateway.errors import NotFound
from umad.gateway.gateway_call import GatewayCall


async def conversation_of(call: GatewayCall, body: ResponseBody) -> list[Item]:
    """All items of the conversation. Raises `NotFound` if earlier ones are not stored."""
    items = await _history(call, body.previous_response_id)
    outputs: dict[str, dict[str, Any]] = {}
    for at, item in enumerate(body.items()):
        items.append(await _referred(call, item, at, outputs) if _is_reference(item) else item)
    return items


async def _history(call: GatewayCall, response_id: str | None) -> list[Item]:
    if response_id is None:
        return []
    stored = await call.shared.store.get(response_id, call.owner)
    if stored is None:
        raise NotFound(
            f"no response {response_id!r} is kept; send the whole conversation",
            field="previous_response_id",
        )
    return [Item.model_validate(one) for one in json.loads(stored.items)]


def _is_reference(item: Item) -> bool:
    """The type of a reference may be left out; a message always has a role."""
    is_bare = item.type == "message" and item.role is None and item.content is None
    return item.id is not None and (item.type == "item_reference" or is_bare)


async def _referred(
    call: GatewayCall, item: Item, at: int, outputs: dict[str, dict[str, Any]]
) -> Item:
    """The item that is meant. `outputs` has those of the responses that were read before."""
    response_id = response_of(item.id or "")
    if response_id is not None:
        if response_id not in outputs:
            stored = await call.shared.store.get(response_id, call.owner)
            output = [] if stored is None else json.loads(stored.response)["output"]
            outputs[response_id] = {one["id"]: one for one in output}
        if (meant := outputs[response_id].get(item.id or "")) is not None:
            return Item.model_validate(meant)
    raise NotFound(
        f"input.{at}.id: no item {(item.id or '')[:128]!r} is kept; send the item itself",
        field=f"input.{at}.id",
    )
