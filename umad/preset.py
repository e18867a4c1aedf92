"""Describes a preset, a model as one use of it wants it, and makes a request as it wants it.

What a client says goes before what a preset says. Pure. Not: where presets are written down
(`umad.models.catalogue_file`), nor the names by which clients ask for one
(`umad.gateway.presets`).
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from umad.conversation import ChatMessage
from umad.request import GenerateRequest

_SYSTEM = "system"
# Parts of the answer that its reader asks for, and whether a limit is a ceiling.
_CLIENTS_OWN = frozenset({"logprobs", "prompt_logprobs", "fit"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A model as one use of it wants it. What is empty is left as it is."""

    name: str
    # A name of any model, or a reference.
    model: str
    system: str = ""
    # Under the names of `umad.request.SamplingParams`.
    sampling: Mapping[str, Any] = field(default_factory=dict)
    lane: str = ""


def applied(preset: Preset, request: GenerateRequest, *, given: Set[str]) -> GenerateRequest:
    """`request` with what the preset says and the client does not.

    given: fields of the sampling that the client has given. A chat that has a system prompt keeps
    it, and a text that is continued gets none.
    """
    passed_over = {*given, *_CLIENTS_OWN}
    if request.sampling.max_tokens is not None:
        passed_over.add("max_tokens")
    sampling = {name: one for name, one in preset.sampling.items() if name not in passed_over}
    messages = request.messages
    if preset.system and messages and all(one.role != _SYSTEM for one in messages):
        messages = (ChatMessage(role=_SYSTEM, content=preset.system), *messages)
    return replace(
        request,
        messages=messages,
        sampling=replace(request.sampling, **sampling),
        lane=request.lane or preset.lane or None,
    )
