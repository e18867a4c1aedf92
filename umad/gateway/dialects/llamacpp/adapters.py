"""Serves LoRA adapters as llama-server does: by number, in a request's `lora` and /lora-adapters.

llama-server has the adapters of its command line, with one scale for everybody that each request
may overrule. Here every adapter of the machine that fits the model has a number, and acts only in
the requests that ask for it, so its scale for everybody is 0 and cannot be changed.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp

from umad.adapters import AdapterChoice
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


async def chosen(
    call: GatewayCall, given: Sequence[Mapping[str, Any]] | None, model: str
) -> tuple[AdapterChoice, ...] | None:
    """The adapters of a request's `lora`; None where it has none. As with llama-server, an adapter
    without a scale has 0.
    """
    wanted = [(at, one) for at, one in enumerate(given or ()) if one.get("scale") not in (None, 0)]
    if not wanted:
        return None
    names: dict[int, str] = {}
    if any("name" not in one for _, one in wanted):
        names = {row["id"]: row["name"] for row in await call.service.adapters(model)}
    return tuple(_choice(at, one, names) for at, one in wanted)


def _choice(at: int, one: Mapping[str, Any], names: Mapping[int, str]) -> AdapterChoice:
    field, scale = f"lora.{at}", one["scale"]
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise BadRequest(f"{field}.scale is a number", field=field)
    name, number = one.get("name"), one.get("id")
    if name is None and type(number) is int:
        name = names.get(number)
        if name is None:
            raise BadRequest(
                f"no adapter of this model has the number {number}; GET /lora-adapters lists them",
                field=field,
            )
    if not isinstance(name, str) or not name:
        raise BadRequest(f"{field} names an adapter by id or by name", field=field)
    return AdapterChoice(name=name, scale=float(scale))


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
