"""Serves llama.cpp's POST /completion and /completions: continues prompts under its own names.

Several prompts, or several completions of one, are an array of answers; a stream tells them apart
by `index`. Not: the forms of prompts (`prompts`), nor the shape of an answer (`answers`).
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.types import ASGIApp

from umad.adapters import AdapterChoice
from umad.errors import BadRequest
from umad.gateway import sse
from umad.gateway.bodies.adapters import choices
from umad.gateway.bodies.llama_completion import LlamaCompletionBody
from umad.gateway.dialects.llamacpp.answers import (
    chosen,
    piece,
    probabilities,
    settings_of,
    timings_of,
    whole,
)
from umad.gateway.dialects.llamacpp.prompts import OnePrompt, prompts_of
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.generation import Completion, GatewayGeneration, collect
from umad.gateway.merging import gathered, merged
from umad.request import MAX_N, GenerateRequest, SamplingParams, Timings, Usage
from umad.service import Done, Progress, TokenLogprob, Tokens

NAMES = {
    "max_tokens": "n_predict",
    "logprobs": "n_probs",
    "prompt_ids": "prompt",
    "n": "n_cmpl",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One request, understood."""

    body: LlamaCompletionBody
    model: str
    prompts: Sequence[OnePrompt]
    # The text of each prompt, for the answers.
    texts: Sequence[str]
    # One prompt that did not come in an array.
    is_single: bool
    sampling: SamplingParams
    # `n_predict` of 0: the prompt is read, and no token is wanted.
    is_empty: bool
    # None for those that `model` names.
    adapters: tuple[AdapterChoice, ...] | None

    @property
    def n(self) -> int:
        """Completions of each prompt."""
        return 1 if self.body.n_cmpl is None else self.body.n_cmpl

    def settings(self) -> dict[str, Any]:
        """`generation_settings` of every answer."""
        limit = replace(self.sampling, max_tokens=0) if self.is_empty else self.sampling
        return settings_of(limit, stream=bool(self.body.stream))


async def completion(call: GatewayCall) -> ASGIApp:
    """Answer the request."""
    asked = await _asked(call, call.body(LlamaCompletionBody))
    generations = await gathered(_opened(call, asked, prompt) for prompt in asked.prompts)
    if asked.body.stream:
        return call.stream(_pieces(call, asked, generations))
    rows = await gathered(collect(one, asked.n) for one in generations)
    answers = [await _answer(call, asked, at, one) for at, row in enumerate(rows) for one in row]
    return answer(answers[0] if asked.is_single and asked.n == 1 else answers)


async def _asked(call: GatewayCall, body: LlamaCompletionBody) -> _Asked:
    body.refused()
    model = await call.model(body.model)
    facts = await call.shared.models.facts(model)

    async def tokenize(text: str) -> tuple[int, ...]:
        return await call.tokenize(text, model=model)

    bos = int(facts["bos_token"]) if facts.get("adds_bos") else None
    prompts, is_single = await prompts_of(body.prompt, tokenize, bos=bos)
    if not 1 <= (1 if body.n_cmpl is None else body.n_cmpl) <= MAX_N:
        raise BadRequest(f"n_cmpl: 1 to {MAX_N} completions", field="n_cmpl")
    texts = [one if isinstance(one, str) else await call.detokenize(one, model) for one in prompts]
    return _Asked(
        body=body,
        model=model,
        prompts=prompts,
        texts=texts,
        is_single=is_single,
        sampling=_sampling(body),
        is_empty=body.n_predict == 0,
        adapters=choices(body.lora),
    )


def _sampling(body: LlamaCompletionBody) -> SamplingParams:
    """Fields that were not given stay umad's defaults, which are llama.cpp's."""
    given = {**body.drawing(), **body.turned_off()}
    if body.temperature is not None and body.temperature < 0:
        given["temperature"] = 0.0  # llama.cpp's other way to ask for the best token
    wanted = body.n_predict
    return SamplingParams(
        **given,
        # No token is wanted where the limit is 0, but reading a prompt ends with one.
        max_tokens=None if wanted is None or wanted < 0 else max(1, wanted),
        fit=True,
        logprobs=body.n_probs or None,
    )


async def _opened(call: GatewayCall, asked: _Asked, prompt: OnePrompt) -> GatewayGeneration:
    text = prompt if isinstance(prompt, str) else None
    return await call.open(
        GenerateRequest(
            prompt=text,
            prompt_ids=None if isinstance(prompt, str) else prompt,
            model=asked.model,
            lora=asked.adapters,
            n=asked.n,
            sampling=asked.sampling,
            constraint=None if asked.body.form is None else asked.body.form.constraint,
        )
    )


async def _answer(call: GatewayCall, asked: _Asked, at: int, one: Completion) -> dict[str, Any]:
    body, kept = asked.body, not asked.is_empty
    said = {
        **whole(
            text=one.text if kept else "",
            ids=one.ids if body.return_tokens and kept else (),
            model=asked.model,
            reason=one.finish_reason if kept else "length",
            stop=one.stop if kept else None,
            usage=one.usage if kept else replace(one.usage, completion_tokens=0),
            timings=one.timings,
            index=at * asked.n + one.index,
        ),
        "generation_settings": asked.settings(),
        "prompt": asked.texts[at],
    }
    if one.logprobs and kept:
        said["completion_probabilities"] = await _probabilities(call, asked.model, one.logprobs)
    return chosen(said, body.response_fields)


async def _probabilities(
    call: GatewayCall, model: str, rows: Sequence[TokenLogprob]
) -> list[dict[str, Any]]:
    ids = {row.id for row in rows} | {top for row in rows for top, _ in row.top}
    return probabilities(rows, await call.shared.token_bytes.of(model, ids))


async def _pieces(
    call: GatewayCall, asked: _Asked, generations: Sequence[GatewayGeneration]
) -> AsyncGenerator[bytes, None]:
    """Pieces of text, and for each completion a last object without text."""
    body = asked.body
    clock = _Clock(len(generations) * asked.n)
    async for at, event in merged(generations):
        index = at * asked.n + (0 if isinstance(event, Progress) else event.index)
        match event:
            case Tokens():
                if asked.is_empty:
                    continue
                said = piece(event.text, event.ids, index)
                if event.logprobs:
                    rows = await _probabilities(call, asked.model, event.logprobs)
                    said["completion_probabilities"] = rows
                clock.made(index, len(event.ids))
                if body.timings_per_token:
                    said["timings"] = clock.timings(index)
                yield sse.data(chosen(said, body.response_fields))
            case Done():
                yield sse.data(await _answer(call, asked, at, _ended(event)))
            case Progress():
                clock.read(index, event)
                if body.return_progress:
                    said = {**piece("", (), index), "prompt_progress": clock.progress(event)}
                    yield sse.data(chosen(said, body.response_fields))
                else:
                    yield sse.comment(f"prefill {event.done_tokens}/{event.total_tokens}")


def _ended(event: Done) -> Completion:
    """The end of a stream's completion; its text was sent before."""
    return Completion(
        index=event.index,
        finish_reason=event.finish_reason,
        stop=event.stop,
        usage=event.usage,
        timings=event.timings,
    )


class _Clock:
    """The times of a stream's completions so far, as this process sees them."""

    def __init__(self, n: int) -> None:
        self._now_s = asyncio.get_running_loop().time
        self._began_s = self._now_s()
        self._first_s = [0.0] * n
        self._n_prompt = [0] * n
        self._n_made = [0] * n

    def read(self, index: int, progress: Progress) -> None:
        """A part of a prompt has been read."""
        self._n_prompt[index] = progress.total_tokens

    def made(self, index: int, n_tokens: int) -> None:
        """Tokens have come."""
        self._first_s[index] = self._first_s[index] or self._now_s()
        self._n_made[index] += n_tokens

    def progress(self, progress: Progress) -> dict[str, Any]:
        """`prompt_progress`; how much of it came from the cache is known at the end only."""
        return {
            "total": progress.total_tokens,
            "cache": 0,
            "processed": progress.done_tokens,
            "time_ms": round((self._now_s() - self._began_s) * 1e3),
        }

    def timings(self, index: int) -> dict[str, Any]:
        """`timings` so far."""
        first_ms = (self._first_s[index] - self._began_s) * 1e3
        usage = Usage(
            prompt_tokens=self._n_prompt[index],
            cached_tokens=0,
            completion_tokens=self._n_made[index],
        )
        total_ms = (self._now_s() - self._began_s) * 1e3
        return timings_of(usage, Timings(queued_ms=0.0, first_token_ms=first_ms, total_ms=total_ms))
