"""Shapes lists of log-probabilities in both of OpenAI's forms."""

from collections.abc import Sequence
from typing import Any

from umad.gateway.token_bytes import TokenBytes, shown
from umad.service import TokenLogprob


def _ids(logprobs: Sequence[TokenLogprob]) -> set[int]:
    return {one.id for one in logprobs} | {top for one in logprobs for top, _ in one.top}


async def chat_logprobs(
    tokens: TokenBytes, model: str, logprobs: Sequence[TokenLogprob]
) -> list[dict[str, Any]]:
    """`choices[].logprobs.content` of chat completions."""
    of = await tokens.of(model, _ids(logprobs))

    def entry(token: int, logprob: float) -> dict[str, Any]:
        piece = of[token]
        return {"token": shown(piece), "logprob": logprob, "bytes": list(piece)}

    return [
        {
            **entry(one.id, one.logprob),
            "top_logprobs": [entry(token, logprob) for token, logprob in one.top],
        }
        for one in logprobs
    ]


async def legacy_logprobs(
    tokens: TokenBytes, model: str, logprobs: Sequence[TokenLogprob], *, offset: int
) -> dict[str, Any]:
    """`choices[].logprobs` of completions. offset: characters before the first token."""
    pieces = await tokens.of(model, _ids(logprobs))
    of = {token: shown(piece) for token, piece in pieces.items()}
    offsets: list[int] = []
    for one in logprobs:
        offsets.append(offset)
        offset += len(of[one.id])
    return {
        "tokens": [of[one.id] for one in logprobs],
        "token_logprobs": [one.logprob for one in logprobs],
        "top_logprobs": [{of[token]: logprob for token, logprob in one.top} for one in logprobs],
        "text_offset": offsets,
    }
