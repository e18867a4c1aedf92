"""Serves GET /v1/models and /v1/models/{model}: loaded models, and their aliases without wildcards.

OpenAI and Anthropic use the same paths, so an answer has the fields of both.
"""

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp

from umad.errors import UnknownModel
from umad.gateway.bodies.answers import ModelEntry, ModelList
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer

# Anthropic's date for a model whose date is not known.
_UNKNOWN = "1970-01-01T00:00:00Z"


def _entry(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's four fields, Anthropic's, and those that agents look for in other servers' lists."""
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "umad",
        "type": "model",
        "display_name": name,
        "created_at": _UNKNOWN,
        "lifecycle": "active",
        "max_input_tokens": facts.get("ctx"),
        "context_length": facts.get("ctx"),
        "max_model_len": facts.get("ctx"),
        "state": facts.get("state"),
    }


async def _entries(call: GatewayCall) -> list[dict[str, Any]]:
    rows = {str(row["name"]): row for row in await call.service.models()}
    aliases = [(name, rows[local]) for name, local in call.shared.aliases.plain() if local in rows]
    return [_entry(name, row) for name, row in (*rows.items(), *aliases)]


async def _list(call: GatewayCall) -> ASGIApp:
    entries = await _entries(call)
    ends = {
        "first_id": entries[0]["id"] if entries else None,
        "last_id": entries[-1]["id"] if entries else None,
    }
    return answer({"object": "list", "data": entries, "has_more": False, **ends})


async def _one(call: GatewayCall) -> ASGIApp:
    asked = call.request.path_params["model"]
    entries = {one["id"]: one for one in await _entries(call)}
    found = entries.get(asked) or entries.get(call.shared.aliases.local(asked) or "")
    if found is None:
        raise UnknownModel(
            f"{asked[:128]!r} is not loaded; loaded are {', '.join(entries) or 'none'}",
            field="model",
        )
    return answer({**found, "id": asked})


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/v1/models",
        handle=_list,
        dialect=OPENAI,
        summary="List the models",
        answer=ModelList,
    ),
    Endpoint(
        method="GET",
        path="/v1/models/{model:path}",
        handle=_one,
        dialect=OPENAI,
        summary="One model",
        answer=ModelEntry,
    ),
)
