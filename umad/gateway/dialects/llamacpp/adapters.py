"""Serves the list of LoRA adapters as llama-server does: GET and POST /lora-adapters.

llama-server has the adapters of its command line, with one scale for everybody that each request
may overrule. Here every adapter of the machine that fits the model has a number, and acts only in
the requests that ask for it, so its scale for everybody is 0 and cannot be changed.
"""

import json
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp

from umad.errors import BadRequest, Unsupported
from umad.gateway.gateway_call import GatewayCall, answer


async def adapters(call: GatewayCall) -> ASGIApp:
    """Tell the adapters for the model of the query `model`, or for the first one."""
    rows = await call.service.adapters(await _model(call))
    return answer([_row(row) for row in rows])


async def change_adapters(call: GatewayCall) -> ASGIApp:
    """Refuse a scale for everybody, unless it is the one that they have."""
    try:
        given = json.loads(call.raw or b"[]")
    except ValueError:
        given = None
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise BadRequest("the body is an array of {id, scale}")
    for at, one in enumerate(given):
        if one.get("scale") not in (None, 0):
            raise Unsupported(
                "an adapter acts in the requests that ask for it, not for everybody: send lora "
                "with each request, or name the model base+adapter",
                field=f"{at}.scale",
            )
    return answer({"success": True})


async def _model(call: GatewayCall) -> str:
    return await call.model(call.request.query_params.get("model") or None)


def _row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    shown = {
        "id": row["id"],
        "path": row.get("path") or row["name"],
        "scale": 0.0,
        "task_name": "",
        "prompt_prefix": "",
        # Not of llama-server: what stands behind the + of base+adapter, and in `lora`.
        "name": row["name"],
    }
    tokens = list(row.get("invocation_tokens") or ())
    return {**shown, "alora_invocation_tokens": tokens} if tokens else shown
