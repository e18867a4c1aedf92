"""Shapes an answer as llama-server does: the pieces of a stream, and the whole answer. Pure.

Source: `server_task_result_cmpl_*::to_json_non_oaicompat` in llama.cpp's tools/server.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from umad.gateway.bodies.llama_completion import SAMPLERS
from umad.gateway.token_bytes import shown
from umad.request import FinishReason, SamplingParams, Timings, Usage
from umad.service import TokenLogprob

_ANY_SEED = 2**32 - 1


def piece(text: str, ids: Sequence[int], index: int = 0) -> dict[str, Any]:
    """A part of a stream. llama-server's plugins look at content and stop."""
    return {"index": index, "content": text, "tokens": list(ids), "stop": False, "id_slot": -1}


def whole(
    *,
    text: str,
    ids: Sequence[int],
    model: str,
    reason: FinishReason,
    stop: str | None,
    usage: Usage,
    timings: Timings,
    index: int = 0,
) -> dict[str, Any]:
    """The whole answer; of a stream the last object, whose text and ids are empty."""
    return {
        "index": index,
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
        "timings": timings_of(usage, timings),
    }


def settings_of(sampling: SamplingParams, *, stream: bool = False) -> dict[str, Any]:
    """`generation_settings`: the sampling in force, under llama-server's names. Samplers that umad
    does not have are off.
    """
    most = -1 if sampling.max_tokens is None else sampling.max_tokens
    return {
        "seed": _ANY_SEED if sampling.seed is None else sampling.seed,
        "temperature": sampling.temperature,
        "dynatemp_range": 0.0,
        "dynatemp_exponent": 1.0,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "top_n_sigma": -1.0,
        "xtc_probability": 0.0,
        "xtc_threshold": 0.1,
        "typical_p": sampling.typical_p,
        "repeat_last_n": sampling.penalty_last_n,
        "repeat_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "dry_multiplier": 0.0,
        "mirostat": 0,
        "stop": list(sampling.stop),
        "max_tokens": most,
        "n_predict": most,
        "n_keep": 0,
        "n_discard": 0,
        "ignore_eos": sampling.ignore_eos,
        "stream": stream,
        "n_probs": sampling.logprobs or 0,
        "min_keep": 0,
        "samplers": list(SAMPLERS),
        "timings_per_token": False,
        "post_sampling_probs": False,
        "lora": [],
    }


def probabilities(
    rows: Sequence[TokenLogprob], pieces: Mapping[int, bytes]
) -> list[dict[str, Any]]:
    """`completion_probabilities`. pieces: the bytes of every token in `rows`."""

    def entry(token: int, logprob: float) -> dict[str, Any]:
        return {
            "id": token,
            "token": shown(pieces[token]),
            "bytes": list(pieces[token]),
            "logprob": logprob,
        }

    return [
        {**entry(row.id, row.logprob), "top_logprobs": [entry(*one) for one in row.top]}
        for row in rows
    ]


def chosen(answer: dict[str, Any], fields: Sequence[str] | None) -> dict[str, Any]:
    """The `response_fields` of an answer. A field inside another one (`a/b`) comes out under its
    own name; a field that is not there is left out.
    """
    if not fields:
        return answer
    found: dict[str, Any] = {}
    for path in fields:
        value: Any = answer
        names = path.split("/")
        for name in names:
            if not isinstance(value, dict) or name not in value:
                break
            value = value[name]
        else:
            found[names[-1]] = value
    return found


def timings_of(usage: Usage, timings: Timings) -> dict[str, Any]:
    """The object `timings`."""
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
