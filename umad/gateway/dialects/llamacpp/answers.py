"""Shapes an answer as llama-server does: the pieces of a stream, and the whole answer. Pure.

Source: `server_task_result_cmpl_*::to_json_non_oaicompat` in llama.cpp's tools/server.
"""

from collections.abc import Sequence
from typing import Any

from umad.request import FinishReason, Timings, Usage


def piece(text: str, ids: Sequence[int]) -> dict[str, Any]:
    """A part of a stream. llama-server's plugins look at content and stop."""
    return {"index": 0, "content": text, "tokens": list(ids), "stop": False, "id_slot": -1}


def whole(
    *,
    text: str,
    ids: Sequence[int],
    model: str,
    reason: FinishReason,
    stop: str | None,
    usage: Usage,
    timings: Timings,
) -> dict[str, Any]:
    """The whole answer; of a stream the last object, whose text and ids are empty."""
    return {
        "index": 0,
        "content": text,
        "tokens": list(ids),
        "id_slot": -1,
        "stop": True,
        "model": model,
        "tokens_predicted": usage.completion_tokens,
        "tokens_evaluated": usage.prompt_tokens,
        "tokens_cached": usage.prompt_tokens + usage.completion_tokens,
        "truncated": False,
        "stop_type": "limit" if reason == "length" else "word" if stop is not None else "eos",
        "stopping_word": stop or "",
        "has_new_line": "\n" in text,
        "timings": _timings(usage, timings),
    }


def _timings(usage: Usage, timings: Timings) -> dict[str, Any]:
    n_read = usage.prompt_tokens - usage.cached_tokens
    n_made = usage.completion_tokens
    prompt_ms = max(0.0, timings.first_token_ms - timings.queued_ms)
    predicted_ms = max(0.0, timings.total_ms - timings.first_token_ms)
    return {
        "cache_n": usage.cached_tokens,
        "prompt_n": n_read,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": prompt_ms / n_read if n_read else 0.0,
        "prompt_per_second": n_read / prompt_ms * 1e3 if prompt_ms else 0.0,
        "predicted_n": n_made,
        "predicted_ms": predicted_ms,
        "predicted_per_token_ms": predicted_ms / n_made if n_made else 0.0,
        "predicted_per_second": n_made / predicted_ms * 1e3 if predicted_ms else 0.0,
    }
