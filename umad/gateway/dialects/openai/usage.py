"""Shapes usage, finish reasons and times as OpenAI's endpoints do."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from umad.request import FinishReason, Usage


def now_s() -> int:
    """Seconds since 1970, as `created` fields have it."""
    return int(datetime.now(UTC).timestamp())


def usage_of(usages: Iterable[Usage]) -> dict[str, Any]:
    """Usage of all completions of one prompt; the prompt counts once."""
    rows = list(usages)
    return sum_usage([rows] if rows else [])


def sum_usage(prompts: Iterable[list[Usage]]) -> dict[str, Any]:
    """Usage of several prompts, each with its completions."""
    rows = [row for row in prompts if row]
    prompt = sum(row[0].prompt_tokens for row in rows)
    cached = sum(row[0].cached_tokens for row in rows)
    completion = sum(one.completion_tokens for row in rows for one in row)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def reason_of(reason: FinishReason, *, has_calls: bool = False) -> str:
    """`finish_reason`. A cancelled completion is told as stopped, because clients know no other
    word.
    """
    if reason == "length":
        return "length"
    return "tool_calls" if has_calls else "stop"
