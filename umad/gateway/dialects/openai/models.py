"""Serves GET /v1/models and /v1/models/{model}: loaded models, for admins those that a request
would load, their presets, and their aliases without wildcards.

OpenAI, Anthropic, llama-server and Codex use the same paths, so an answer has the fields of all of
them (`umad.gateway.model_entries`, `codex_models`).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp

from umad.errors import UnknownModel
from umad.gateway.bodies.answers import ModelEntry, ModelList
from umad.gateway.dialects.openai.codex_models import codex_entry
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.endpoint import Endpoint
from umad.gateway.errors import NoSuchPath
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.model_entries import entry_of
from umad.gateway.model_facts import meant_row
from umad.gateway.presets import model_of

_QUOTED_CHARS = 128


async def rows_of(call: GatewayCall) -> list[tuple[str, Mapping[str, Any]]]:
    """Every model, alias and preset that the caller may use, with the model's facts."""
    rows = {str(row["name"]): row for row in await call.service.models(stored=True)}
    aliases = []
    for name, local in call.shared.aliases.plain():
        with suppress(UnknownModel):  # the alias may mean several by now
            if (row := meant_row(local, rows)) is not None:
                aliases.append((name, row))
    for preset in call.shared.presets.all():
        with suppress(UnknownModel):
            if (row := meant_row(model_of(preset), rows, preset=preset.name)) is not None:
                aliases.append((preset.name, row))
    return [*rows.items(), *aliases]


def aliases_of(name: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """The other names of the model that `rows` list under a name."""
    models = {shown: row.get("name") for shown, row in rows}
    return [one for one, model in models.items() if model == models.get(name) and one != name]


async def _list(call: GatewayCall) -> ASGIApp:
    rows = await rows_of(call)
    entries = [entry_of(name, row, aliases=aliases_of(name, rows)) for name, row in rows]
    writers = [(name, row) for name, row in rows if row.get("generates", True)]
    models = [codex_entry(name, row, priority=at) for at, (name, row) in enumerate(writers, 1)]
    ends = {
        "first_id": entries[0]["id"] if entries else None,
        "last_id": entries[-1]["id"] if entries else None,
    }
    return answer({"object": "list", "data": entries, "has_more": False, **ends, "models": models})


async def _one(call: GatewayCall) -> ASGIApp:
    """The model's real name is its id, as OpenAI has it. An alias or a preset is a name of its own,
    because it is in the list.
    """
    asked = call.request.path_params["model"]
    try:
        row = await call.row(asked or "/", stored=True)
    except UnknownModel:
        if asked and asked == asked.strip("/"):
            raise
        path = f"/v1/models/{asked.strip('/')}".rstrip("/")[:_QUOTED_CHARS]
        raise NoSuchPath(
            f"nothing is served at /v1/models/{asked[:_QUOTED_CHARS]}; did you mean GET {path}?"
        ) from None
    shared = call.shared
    is_own = shared.aliases.exact(asked) is not None or shared.presets.exact(asked) is not None
    name = asked if is_own else str(row["name"])
    return answer(entry_of(name, row, aliases=aliases_of(name, await rows_of(call))))


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
