"""Shapes an answer as llama-server does: the pieces of a stream, and the whole answer. Pure.

Source: `server_task_result_cmpl_*::to_json_non_oaicompat` in llama.cpp's tools/server.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from umad.adapters import AdapterChoice
from umad.gateway.bodies.llama_completion import SAMPLERS
from umad.gateway.token_bytes import shown
from umad.request import FinishReason, SamplingParams, Timings, Usage
from umad.service import TokenLogprob

_ANY_SEED = 2**32 - 1
# What a stream cannot tell before its end: how much of the prompt was kept from before.
_AT_THE_END = ("cache_n", "prompt_n", "prompt_per_token_ms", "prompt_per_second")


def piece(
    text: str, ids: Sequence[int], index: int = 0, *, n_made: int = 0, n_prompt: int | None = None
) -> dict[str, Any]:
    """A part of a stream. llama-server's plugins look at content and stop. n_made: tokens of this
    completion so far. n_prompt: tokens of its prompt; None where they are not known yet.
    """
    evaluated = {} if n_prompt is None else {"tokens_evaluated": n_prompt}
    return {
        "index": index,
        "content": text,
        "tokens": list(ids),
        "stop": False,
        "id_slot": -1,
        "tokens_predicted": n_made,
        **evaluated,
    }


def whole(
    *,
    text: str,
    ids: Sequence[int],
    model: str,
    reason: FinishReason,
    stop: str | None,
    usage: Usage,
    timings: Timings,
    has_new_line: bool,
    index: int = 0,
) -> dict[str, Any]:
    """The whole answer; of a stream the last object, whose text and ids are empty. has_new_line: in
    all of the text, which a stream has sent before.
    """
    return {
        "index": index,
        "content": text,
        "tokens": list(ids),
        # Sequences have no numbers that would mean anything to a client.
        "id_slot": -1,
        "stop": True,
        "model": model,
        "tokens_predicted": usage.completion_tokens,
        "tokens_evaluated": usage.prompt_tokens,
        "tokens_cached": usage.prompt_tokens + usage.completion_tokens,
        # An answer ends where its context does; nothing is ever cut off its beginning.
        "truncated": False,
        "stop_type": "limit" if reason == "length" else "word" if stop is not None else "eos",
        "stopping_word": stop or "",
        "has_new_line": has_new_line,
        "timings": timings_of(usage, timings),
    }


def settings_of(
    sampling: SamplingParams,
    *,
    samplers: Sequence[str] = SAMPLERS,
    stream: bool = False,
    timings_per_token: bool = False,
    grammar: str | None = "",
    lora: Sequence[AdapterChoice] = (),
) -> dict[str, Any]:
    """`generation_settings`: the sampling in force, under llama-server's names. Samplers that umad
    does not have are off. grammar: GBNF; None where the answer's form is written in another way.
    """
    most = -1 if sampling.max_tokens is None else sampling.max_tokens
    settings = {
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
        "logit_bias": [{"bias": bias, "token": token} for token, bias in sampling.logit_bias],
        "n_probs": sampling.logprobs or 0,
        "min_keep": 0,
        "samplers": list(samplers),
        "timings_per_token": timings_per_token,
        "post_sampling_probs": False,
        "lora": [_adapter(one) for one in lora],
    }
    return settings if grammar is None else {**settings, "grammar": grammar}


def _adapter(one: AdapterChoice) -> dict[str, Any]:
    which = {"name": one.name} if one.number is None else {"id": one.number}
    return {**which, "scale": one.scale}


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
    """The `response_fields` of an answer. A field inside another one (`a/b`) comes out under that
    whole path, as in llama-server; a field that is not there is left out.
    """
    if not fields:
        return answer
    found: dict[str, Any] = {}
    for path in fields:
        value: Any = answer
        for name in path.split("/"):
            if not isinstance(value, dict) or name not in value:
                break
            value = value[name]
        else:
            found[path] = value
    return found


def timings_so_far(n_made: int, timings: Timings) -> dict[str, Any]:
    """The object `timings` while an answer goes on."""
    usage = Usage(prompt_tokens=0, cached_tokens=0, completion_tokens=n_made)
    return {
        name: value for name, value in timings_of(usage, timings).items() if name not in _AT_THE_END
    }


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
