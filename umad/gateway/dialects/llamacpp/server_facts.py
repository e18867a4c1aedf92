"""Serves what llama-server tells of itself: /props, /slots and /apply-template.

Everybody is told only what the daemon shows them: files and other people's requests are the
admin's to see. So the slots of a user hold the user's own requests, and the others look idle.
"""

from typing import Any

from starlette.types import ASGIApp

from umad.errors import Unsupported
from umad.gateway.bodies.llamacpp import ApplyTemplateBody
from umad.gateway.dialects.llamacpp.answers import settings_of
from umad.gateway.dialects.openai.chat import request_of
from umad.gateway.errors import NoSlot
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.model_facts import context_tokens
from umad.request import SamplingParams
from umad.version import __version__

_RUNNING = frozenset(("generating", "prefill"))


async def _facts(call: GatewayCall) -> dict[str, Any]:
    """The model of the query `model`, or the first loaded one, as the caller may see it."""
    return dict(await call.row(call.request.query_params.get("model") or None))


async def props(call: GatewayCall) -> ASGIApp:
    """Tell the model's properties."""
    facts = await _facts(call)
    name, tokens = str(facts["name"]), call.shared.token_bytes
    source = (await call.service.render(model=name)).template
    bos, eog = int(facts.get("bos_token", -1)), list(facts.get("eog_tokens") or ())
    known = [one for one in (bos, *eog[:1]) if one >= 0]
    pieces = await tokens.of(name, known) if known else {}
    text = {one: piece.decode("utf-8", "replace") for one, piece in pieces.items()}
    return answer(
        {
            "default_generation_settings": {
                "id": 0,
                "id_task": -1,
                "n_ctx": context_tokens(facts),
                "speculative": False,
                "is_processing": False,
                "params": settings_of(SamplingParams()),
            },
            "total_slots": facts.get("seqs") or 1,
            "model_alias": name,
            "model_path": facts.get("path") or name,
            "modalities": {"vision": False, "video": False, "audio": False},
            "endpoint_slots": True,
            "endpoint_props": False,
            "endpoint_metrics": call.caller.asker.is_admin,
            "chat_template": source or "",
            "chat_template_caps": {
                "supports_tools": bool(facts.get("takes_tools")),
                "supports_tool_calls": bool(facts.get("takes_tools")),
            },
            "bos_token": text.get(bos, ""),
            "eos_token": text.get(eog[0], "") if eog else "",
            "build_info": f"umad-{__version__}",
            "is_sleeping": False,
        }
    )


async def change_props(call: GatewayCall) -> ASGIApp:
    """Refuse, as llama-server does unless it was started with --props."""
    raise Unsupported("properties cannot be changed; umad config says what can be set")


async def slots(call: GatewayCall) -> ASGIApp:
    """Tell the caller's live requests, one a slot; the other slots are idle."""
    facts = await _facts(call)
    context, n_slots = context_tokens(facts), int(facts.get("seqs") or 1)
    live = [
        row
        for row in await call.service.sessions()
        if row["model"] == facts["name"] and row["state"] in _RUNNING
    ]
    rows = [_slot(at, context, dict(row)) for at, row in enumerate(live[:n_slots])]
    rows += [_slot(at, context, None) for at in range(len(rows), n_slots)]
    wants_free = call.request.query_params.get("fail_on_no_slot")
    if wants_free and wants_free != "0" and all(row["is_processing"] for row in rows):
        raise NoSlot("no slot is available")
    return answer(rows)


def _slot(at: int, context: int, row: dict[str, Any] | None) -> dict[str, Any]:
    slot: dict[str, Any] = {
        "id": at,
        "n_ctx": context,
        "speculative": False,
        "is_processing": row is not None,
    }
    if row is None:
        return slot
    number = "".join(one for one in str(row["request"]) if one.isdigit())
    return {
        **slot,
        "id_task": int(number or 0),
        "request": row["request"],
        "lane": row["lane"],
        "n_prompt_tokens": row["prompt_tokens"],
        "next_token": [
            {
                "has_next_token": True,
                "has_new_line": False,
                "n_remain": -1,
                "n_decoded": row["generated"],
            }
        ],
    }


async def change_slot(call: GatewayCall) -> ASGIApp:
    """Refuse to save, restore or erase a slot."""
    raise Unsupported("slots are not saved; umad keeps a conversation under its `session`")


async def apply_template(call: GatewayCall) -> ASGIApp:
    """Render a chat, without an answer to it."""
    body = call.body(ApplyTemplateBody)
    if body.add_generation_prompt is False:
        raise Unsupported(
            "add_generation_prompt: the prompt always ends where the answer begins",
            field="add_generation_prompt",
        )
    prompt = await call.render(request_of(body))
    return answer({"prompt": prompt.text})
