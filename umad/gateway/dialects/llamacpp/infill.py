"""Serves llama.cpp's POST /infill: fills a gap in a file, with every option of /completion.

Not: the prompt of a gap (`umad.infill.prompt`), nor the answers (`continuing`).
"""

from starlette.types import ASGIApp

from umad.gateway.bodies.llamacpp import InfillBody
from umad.gateway.dialects.llamacpp import continuing
from umad.gateway.gateway_call import GatewayCall
from umad.infill.prompt import FimTokens, Gap, prompt_ids

# The default length of an answer for llama-server's plugins; an infill is short.
N_PREDICT = 128
NAMES = continuing.NAMES


async def infill(call: GatewayCall) -> ASGIApp:
    """Answer the request. An `n_predict` of 0 only reads the prompt, for the next request."""
    body = call.body(InfillBody)
    body.refused()
    model = await call.model(body.model)
    facts = await call.shared.models.facts(model)

    async def tokenize(text: str) -> tuple[int, ...]:
        return await call.tokenize(text, model=model, special=False) if text else ()

    most = body.most_tokens(N_PREDICT)
    ids = await prompt_ids(
        Gap(
            before=body.input_prefix,
            after=body.input_suffix,
            typed=body.prompt,
            files=[(one.filename, one.text) for one in body.input_extra],
        ),
        FimTokens.of_facts(facts),
        tokenize,
        cells=int(facts.get("ctx") or 0),
        n_predict=N_PREDICT if most is None else most,
    )
    asked = await continuing.asked_of(
        call, body, model=model, prompts=(ids,), is_single=True, most=most
    )
    return await continuing.answered(call, asked)
