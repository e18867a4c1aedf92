"""Serves what llama-server tells of itself: /props, /slots and /apply-template.

Everybody is told only what the daemon shows them: files and other people's requests are the
admin's to see. So the slots of a user hold the user's own requests, and the others look idle.
"""

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp

from umad.errors import Unsupported
from umad.gateway.bodies.llamacpp import ApplyTemplateBody
from umad.gateway.dialects.llamacpp.answers import settings_of
from umad.gateway.dialects.openai.chat import request_of
from umad.gateway.errors import NoSlot
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.marked_prompts import ANNOUNCED_MARK
from umad.gateway.model_entries import file_type, is_asleep, status_of
from umad.gateway.model_facts import context_tokens, has_told
from umad.gateway.token_bytes import shown
from umad.request import SamplingParams
from umad.version import __version__

_RUNNING = frozenset(("generating", "prefill"))
Row = Mapping[str, Any]


async def _facts(call: GatewayCall) -> Row:
    """The model of the query `model`, or the first loaded one, as the caller may see it."""
    return await call.row(call.request.query_params.get("model") or None)


async def props(call: GatewayCall) -> ASGIApp:
    """Tell the model's properties. A model that has no process is not started for that, as in
    llama-server, and one that is being loaded is waited for unless `autoload` is false. What only a
    process could tell is left out then.
    """
    facts = await _facts(call)
    name = str(facts["name"])
    waits = call.request.query_params.get("autoload", "").lower() not in ("false", "0")
    is_quiet = is_asleep(facts) or (not waits and status_of(facts)["value"] != "loaded")
    told: dict[str, Any] = {} if is_quiet else await _told_by_the_model(call, name)
    if not has_told(facts):  # it has been loaded meanwhile
        facts = await _facts(call)
    known = {
        "total_slots": facts.get("seqs"),
        "model_ftype": file_type(facts.get("description")) or None,
    }
    media = facts.get("media") or ()
    return answer(
        {
            "default_generation_settings": {
                **_context(facts),
                "speculative": False,
                "params": settings_of(SamplingParams()),
            },
            **{key: value for key, value in known.items() if value is not None},
            "model_alias": name,
            "model_path": facts.get("path") or name,
            "modalities": {"vision": "image" in media, "video": False, "audio": "audio" in media},
            # What `multimodal_data` of /completion stands for in its text.
            "media_marker": ANNOUNCED_MARK,
            "endpoint_slots": True,
            "endpoint_props": False,
            "endpoint_metrics": call.caller.asker.is_admin,
            **told,
            "build_info": f"umad-{__version__}",
            "is_sleeping": status_of(facts)["value"] == "sleeping",
        }
    )


async def _told_by_the_model(call: GatewayCall, name: str) -> dict[str, Any]:
    """The template and the texts of two tokens, which the model's own process is asked for."""
    source = (await call.service.render(model=name)).template
    facts = await call.shared.models.facts(name)
    bos, eog = int(facts.get("bos_token", -1)), list(facts.get("eog_tokens") or ())
    known = [one for one in (bos, *eog[:1]) if one >= 0]
    pieces = await call.shared.token_bytes.of(name, known) if known else {}
    text = {one: shown(piece) for one, piece in pieces.items()}
    takes_tools = bool(facts.get("takes_tools"))
    return {
        "chat_template": source or "",
        "chat_template_caps": {
            "supports_tools": takes_tools,
            "supports_tool_calls": takes_tools,
        },
        # Empty where the model has no such token.
        "bos_token": text.get(bos, ""),
        "eos_token": text.get(eog[0], "") if eog else "",
    }


def _context(facts: Row) -> dict[str, int]:
    """The context of one slot, once it is known."""
    context = context_tokens(facts)
    return {"n_ctx": context} if context else {}


async def change_props(call: GatewayCall) -> ASGIApp:
    """Refuse, as llama-server does unless it was started with --props."""
    raise Unsupported("properties cannot be changed; umad config says what can be set")


async def slots(call: GatewayCall) -> ASGIApp:
    """Tell the caller's live requests, one a slot; the other slots are idle."""
    facts = await _facts(call)
    live = [
        row
        for row in await call.service.sessions()
        if row["model"] == facts["name"] and row["state"] in _RUNNING
    ]
    n_slots = max(int(facts.get("seqs") or 0), len(live))
    rows = [_slot(at, facts, row) for at, row in enumerate(live)]
    rows += [_slot(at, facts, None) for at in range(len(rows), n_slots)]
    wants_free = call.request.query_params.get("fail_on_no_slot")
    if wants_free and wants_free != "0" and all(row["is_processing"] for row in rows):
        raise NoSlot("no slot is available")
    return answer(rows)


def _slot(at: int, facts: Row, row: Row | None) -> dict[str, Any]:
    """One slot. llama-server's `params`, `prompt`, `has_new_line` and `n_remain` are left out: the
    daemon tells no request's text, nor how it is sampled, not even to its owner.
    """
    slot = {"id": at, **_context(facts), "speculative": False, "is_processing": row is not None}
    if row is None:
        return slot
    number = "".join([one for one in str(row["request"]) if one.isdigit()])
    return {
        **slot,
        "id_task": int(number or 0),
        "request": row["request"],
        "lane": row["lane"],
        # Not known until a part of it has been read.
        **({"n_prompt_tokens": row["prompt_tokens"]} if row["prompt_tokens"] else {}),
        "next_token": [{"has_next_token": True, "n_decoded": row["generated"]}],
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
