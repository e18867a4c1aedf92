"""Says in a template's own variables how much the model is to think.

Requests say it with `enable_thinking` and `reasoning_effort`. Templates have other names for the
same, and some refuse efforts that they do not know:

    enable_thinking     nearly all
    thinking            DeepSeek, Granite 3.3, Kimi K3
    thinking_mode       MiniMax M3: enabled or disabled
    thinking_budget     Seed-OSS: tokens
    reasoning_effort    gpt-oss, DeepSeek V4; as the only switch: Hunyuan 3, Mistral 4
    thinking_effort     Kimi K3

A variable that the request sets by its own name is left as it is, but for an effort that the
template refuses. Which those are is found out by trial, as a template may say so in any way; the
nearest effort that it takes is used instead. Threads: those that render.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

# How much each effort asks for. Efforts below 1 ask for no thinking.
EFFORTS: Mapping[str, float] = {
    "none": 0,
    "no_think": 0,
    "minimal": 0.4,
    "low": 2,
    "medium": 3,
    "high": 4,
    "xhigh": 5,
    "max": 6,
}
# Harmony's template writes any word, and the model was trained on these.
_HARMONY = ("low", "medium", "high")
_EFFORT_NAMES = ("reasoning_effort", "thinking_effort")


class ThinkingVariables:
    """The variables of one template. is_refused: whether the template refuses an ordinary chat with
    these variables.
    """

    def __init__(
        self, source: str, *, is_harmony: bool, is_refused: Callable[[Mapping[str, Any]], bool]
    ) -> None:
        self._is_harmony = is_harmony
        self._is_refused = is_refused
        self._switches = {
            name: words
            for name, words in (
                ("enable_thinking", (True, False)),
                ("thinking", (True, False)),
                ("thinking_mode", ("enabled", "disabled")),
            )
            if _is_used(name, source)
        }
        self._efforts = tuple(name for name in _EFFORT_NAMES if _is_used(name, source))
        self._has_budget = _is_used("thinking_budget", source)
        self._refused: dict[tuple[str, str], bool] = {}

    def of(self, given: Mapping[str, Any], thinking_tokens: int | None) -> dict[str, Any]:
        """The variables of a request that gives these."""
        values = dict(given)
        effort = values.get("reasoning_effort")
        rank = EFFORTS.get(effort) if isinstance(effort, str) else None
        is_on = values.get("enable_thinking")
        if not isinstance(is_on, bool):
            is_on = None if rank is None else rank >= 1
        if is_on is not None:
            for name, (on, off) in self._switches.items():
                values.setdefault(name, on if is_on else off)
        if self._has_budget and thinking_tokens is not None:
            values.setdefault("thinking_budget", thinking_tokens)
        for name in self._efforts:
            wanted = values.get(name, effort)
            if wanted is None and is_on is not None and not self._switches:
                # The effort is the only switch that this template has.
                wanted = "high" if is_on else "none"
            if isinstance(wanted, str) and wanted in EFFORTS:
                values[name] = self._taken(name, wanted)
        return values

    def _taken(self, name: str, wanted: str) -> str:
        """The effort nearest to `wanted` that the template takes."""
        if self._is_harmony:
            taken = list(_HARMONY)
        elif not self._does_refuse(name, wanted):
            return wanted
        else:
            taken = [word for word in EFFORTS if not self._does_refuse(name, word)]
        asks = EFFORTS[wanted] >= 1
        same = [word for word in taken if (EFFORTS[word] >= 1) == asks]
        # Of two that are as near, the one that asks for more.
        return min(
            same or taken or [wanted],
            key=lambda word: (abs(EFFORTS[word] - EFFORTS[wanted]), -EFFORTS[word]),
        )

    def _does_refuse(self, name: str, word: str) -> bool:
        key = (name, word)
        if key not in self._refused:
            values = {one: on for one, (on, _) in self._switches.items()}
            self._refused[key] = self._is_refused({**values, name: word})
        return self._refused[key]


def _is_used(name: str, source: str) -> bool:
    """Whether a template uses the variable `name`, and not only the word."""
    return bool(
        re.search(
            rf"\b(?:if|elif|not|and|or|set|in|\(|=|\+|~|\{{\{{-?)\s*{name}\b(?!\s*=[^=])", source
        )
        or re.search(rf"(?<![.\w'\"]){name}\s+(?:is|==|!=|not\s+in|in)\b", source)
        or re.search(rf"(?<![.\w'\"]){name}\s*(?:==|!=|\|)", source)
    )
