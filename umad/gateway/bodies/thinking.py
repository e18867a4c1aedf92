"""Reads every way in which clients ask how long a model may think, and makes one meaning of them.

    effort     reasoning_effort, reasoning.effort, output_config.effort, Ollama's think
    budget     reasoning_budget, reasoning_budget_tokens, thinking_budget, thinking_budget_tokens,
               thinking.budget_tokens, reasoning.max_tokens; chat_template_kwargs.thinking_budget
    switch     enable_thinking, thinking.type, reasoning.enabled, think; chat_template_kwargs too

A budget in tokens is said more exactly than an effort, so it holds where both are given. Below zero
it means that there is no limit, as for llama-server. A template is told the effort and the switch,
because some templates know them. Pure.
"""

from collections.abc import Mapping
from typing import Any

from umad.conversation import MAX_THINKING_TOKENS
from umad.errors import BadRequest

# Tokens of thinking for each effort; None for as many as the model likes. The figures of low and
# medium are those that Google documents for OpenAI's efforts (Gemini's OpenAI compatibility).
EFFORT_TOKENS: Mapping[str, int | None] = {
    "none": 0,
    "minimal": 0,
    "low": 1024,
    "medium": 8192,
    "high": None,
    "xhigh": None,
    "max": None,
}


def thinking_options(
    *,
    effort: str | None = None,
    budgets: Mapping[str, int | None] | None = None,
    enabled: bool | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`template_kwargs` and `thinking_tokens` of `ChatOptions`. budgets: under the names of the
    client's fields. Raises `BadRequest` naming the field where two budgets differ.
    """
    kwargs = dict(template_kwargs or {})
    given = dict(budgets or {})
    inner = kwargs.get("thinking_budget")
    if isinstance(inner, int) and not isinstance(inner, bool):
        given["chat_template_kwargs.thinking_budget"] = inner
    tokens = _one_budget(given)
    if tokens is None and effort is not None:
        tokens = EFFORT_TOKENS.get(effort)
    if enabled is None and kwargs.get("enable_thinking") in (True, False):
        enabled = bool(kwargs["enable_thinking"])
    if effort is not None:
        kwargs.setdefault("reasoning_effort", effort)
    if enabled is None and tokens == 0:
        enabled = False
    if enabled is False:
        tokens = 0
    if enabled is not None:
        kwargs.setdefault("enable_thinking", enabled)
    limit = None if tokens is None or tokens < 0 else min(tokens, MAX_THINKING_TOKENS)
    return {"template_kwargs": kwargs, "thinking_tokens": limit}


def _one_budget(given: Mapping[str, int | None]) -> int | None:
    said = {name: tokens for name, tokens in given.items() if tokens is not None}
    if len(set(said.values())) > 1:
        first, second = list(said)[:2]
        raise BadRequest(f"{first} and {second} say different budgets; give one", field=second)
    return next(iter(said.values()), None)
