"""A text or a conversation made into a request. Values only."""

from collections.abc import Sequence

from umad.errors import BadRequest
from umad.request import ChatMessage, GenerateRequest, SamplingParams

Prompt = str | Sequence[ChatMessage] | GenerateRequest


def request_for(
    prompt: Prompt,
    *,
    model: str | None = None,
    lane: str | None = None,
    session: str | None = None,
    sampling: SamplingParams | None = None,
) -> GenerateRequest:
    """The request that completes `prompt` once; one that is given whole is taken as it is."""
    if isinstance(prompt, GenerateRequest):
        if prompt.n != 1:
            raise BadRequest("one text has room for one completion: n must be 1", field="n")
        return prompt
    is_text = isinstance(prompt, str)
    return GenerateRequest(
        prompt=prompt if isinstance(prompt, str) else None,
        messages=None
        if is_text
        else tuple(turn for turn in prompt if isinstance(turn, ChatMessage)),
        model=model,
        lane=lane,
        session=session,
        sampling=sampling or SamplingParams(),
    )
