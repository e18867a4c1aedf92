"""Serves llama.cpp's POST /completion and /completions: continues prompts under its own names.

Not: the forms of prompts (`prompts`), nor the answers (`continuing`).
"""

from starlette.types import ASGIApp

from umad.gateway.bodies.llama_completion import LlamaCompletionBody
from umad.gateway.dialects.llamacpp import continuing
from umad.gateway.dialects.llamacpp.prompts import prompts_of
from umad.gateway.gateway_call import GatewayCall

NAMES = {**continuing.NAMES, "prompt_ids": "prompt"}


async def completion(call: GatewayCall) -> ASGIApp:
    """Answer the request."""
    body = call.body(LlamaCompletionBody)
    body.refused()
    model = await call.model(body.model)
    facts = await call.shared.models.facts(model)

    async def tokenize(text: str) -> tuple[int, ...]:
        return await call.tokenize(text, model=model)

    bos = int(facts["bos_token"]) if facts.get("adds_bos") else None
    prompts, is_single = await prompts_of(body.prompt, tokenize, bos=bos)
    asked = await continuing.asked_of(
        call, body, model=model, prompts=prompts, is_single=is_single, most=body.n_predict
    )
    return await continuing.answered(call, asked)
