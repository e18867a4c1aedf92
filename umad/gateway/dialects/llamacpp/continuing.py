"""Continues prompts and answers in llama-server's shape: the part that /completion and /infill
share.

Several prompts, or several completions of one, are an array of answers; a stream tells them apart
by `index`. Not: reading a body (`completion`, `infill`), nor the shape of an answer (`answers`).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.types import ASGIApp

from umad.adapters import AdapterChoice
from umad.errors import BadRequest, UnknownRequest
from umad.gateway import sse
from umad.gateway.bodies.adapters import choices
from umad.gateway.bodies.llama_completion import LlamaDrawing
from umad.gateway.dialects.llamacpp.answers import (
    chosen,
    piece,
    probabilities,
    settings_of,
    timings_so_far,
    whole,
)
from umad.gateway.dialects.llamacpp.line_ends import EndedByLines, LineEnd
from umad.gateway.dialects.llamacpp.prompts import OnePrompt
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.generation import Completion, Heard, collect
from umad.gateway.marked_prompts import MarkedPrompt
from umad.gateway.merging import gathered, merged
from umad.request import MAX_N, GenerateRequest, SamplingParams, Timings
from umad.service import Done, Progress, TokenLogprob, Tokens

NAMES = {
    "max_tokens": "n_predict",
    "logprobs": "n_probs",
    "n": "n_cmpl",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, understood."""

    body: LlamaDrawing
    model: str
    prompts: Sequence[OnePrompt]
    # One prompt that did not come in an array.
    is_single: bool
    sampling: SamplingParams
    # `n_predict` of 0: the prompt is read, and no token is wanted.
    is_empty: bool
    # None for those that `model` names.
    adapters: tuple[AdapterChoice, ...] | None
    # The text of each prompt, for the answers; empty where no answer shows it.
    texts: Sequence[str]

    @property
    def n(self) -> int:
        """Completions of each prompt."""
        return 1 if self.body.n_cmpl is None else self.body.n_cmpl

    def settings(self) -> dict[str, Any]:
        """`generation_settings` of every answer."""
        form = self.body.form
        grammar: str | None = ""
        if form is not None:
            grammar = form.constraint.text if form.constraint.kind == "gbnf" else None
        return settings_of(
            replace(self.sampling, max_tokens=0) if self.is_empty else self.sampling,
            samplers=self.body.samplers_on(),
            stream=bool(self.body.stream),
            timings_per_token=bool(self.body.timings_per_token),
            grammar=grammar,
            lora=self.adapters or (),
        )

    def ends(self) -> list[LineEnd]:
        """How each completion of one prompt ends at a line; none where no such rule is given."""
        most_ms, n_indent = self.body.t_max_predict_ms or 0, self.body.n_indent or 0
        if (most_ms <= 0 and not n_indent) or self.is_empty:
            return []
        most_s = most_ms / 1e3 if most_ms > 0 else None
        return [LineEnd(n_indent=n_indent, most_s=most_s) for _ in range(self.n)]


async def asked_of(
    call: GatewayCall,
    body: LlamaDrawing,
    *,
    model: str,
    prompts: Sequence[OnePrompt],
    is_single: bool,
    most: int | None,
) -> Asked:
    """A request of these prompts. most: the limit of an answer's tokens, None for none. Raises what
    its other fields have wrong.
    """
    if not 1 <= (1 if body.n_cmpl is None else body.n_cmpl) <= MAX_N:
        raise BadRequest(f"n_cmpl: 1 to {MAX_N} completions", field="n_cmpl")
    # Fields that were not given stay umad's defaults, which are llama.cpp's.
    given = {**body.drawing(), **body.turned_off()}
    if body.temperature is not None and body.temperature < 0:
        given["temperature"] = 0.0  # llama.cpp's other way to ask for the best token
    return Asked(
        body=body,
        model=model,
        prompts=prompts,
        is_single=is_single,
        sampling=SamplingParams(
            **given,
            # Reading a prompt ends with a token. It is not shown where none is wanted.
            max_tokens=None if most is None else max(1, most),
            fit=True,
            logprobs=body.n_probs or None,
        ),
        is_empty=most == 0,
        adapters=choices(body.lora),
        texts=await _texts(call, body, model, prompts),
    )


async def _texts(
    call: GatewayCall, body: LlamaDrawing, model: str, prompts: Sequence[OnePrompt]
) -> Sequence[str]:
    """Editors do not ask for the prompt, and do not wait for it."""
    if body.response_fields and "prompt" not in body.response_fields:
        return ()
    return [await _text(call, model, one) for one in prompts]


async def _text(call: GatewayCall, model: str, prompt: OnePrompt) -> str:
    if isinstance(prompt, MarkedPrompt):
        return prompt.shown
    return prompt if isinstance(prompt, str) else await call.detokenize(prompt, model)


async def answered(call: GatewayCall, asked: Asked) -> ASGIApp:
    """The answers, whole or in a stream."""
    generations = await gathered(_opened(call, asked, prompt) for prompt in asked.prompts)
    if asked.body.stream:
        return call.stream(_pieces(call, asked, generations))
    rows = await gathered(collect(one, asked.n) for one in generations)
    answers = [await _answer(call, asked, at, one) for at, row in enumerate(rows) for one in row]
    return answer(answers[0] if asked.is_single and asked.n == 1 else answers)


async def _opened(call: GatewayCall, asked: Asked, prompt: OnePrompt) -> AsyncIterable[Heard]:
    generation = await call.open(
        GenerateRequest(
            **_given(prompt),
            model=asked.model,
            lora=asked.adapters,
            n=asked.n,
            sampling=asked.sampling,
            constraint=None if asked.body.form is None else asked.body.form.constraint,
            speculate=asked.body.is_guessed,
        )
    )
    ends = asked.ends()
    if not ends:
        return generation

    async def cancel() -> None:
        with contextlib.suppress(UnknownRequest):  # it has ended by itself
            await call.service.cancel(generation.accepted.request)

    now_s = asyncio.get_running_loop().time
    return EndedByLines(generation, ends, cancel=cancel, now_s=now_s)


def _given(prompt: OnePrompt) -> dict[str, Any]:
    """A prompt as fields of `GenerateRequest`."""
    if isinstance(prompt, MarkedPrompt):
        return {"prompt": prompt.text, "media": prompt.media}
    return {"prompt": prompt} if isinstance(prompt, str) else {"prompt_ids": prompt}


async def _answer(
    call: GatewayCall, asked: Asked, at: int, one: Completion, *, has_new_line: bool | None = None
) -> dict[str, Any]:
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
            has_new_line=kept and ("\n" in one.text if has_new_line is None else has_new_line),
            index=at * asked.n + one.index,
        ),
        "generation_settings": asked.settings(),
        **({"prompt": asked.texts[at]} if asked.texts else {}),
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
    call: GatewayCall, asked: Asked, generations: Sequence[AsyncIterable[Heard]]
) -> AsyncGenerator[bytes, None]:
    """Pieces of text, and for each completion a last object without text, of which alone
    `response_fields` are chosen.
    """
    body = asked.body
    course = _Course(asked)
    async for at, event in merged(generations):
        # All completions of a prompt read it together.
        index = at * asked.n + (0 if isinstance(event, Progress) else event.index)
        match event:
            case Tokens():
                if asked.is_empty:
                    continue
                course.made(index, event)
                said = course.piece(event.text, event.ids, index)
                if event.logprobs:
                    rows = await _probabilities(call, asked.model, event.logprobs)
                    said["completion_probabilities"] = rows
                if body.timings_per_token:
                    said["timings"] = course.timings(index)
                yield sse.data(said)
            case Done():
                has_new_line = course.has_new_line[index]
                said = await _answer(call, asked, at, _ended(event), has_new_line=has_new_line)
                yield sse.data(said)
            case Progress():
                course.read(index, event)
                if body.return_progress:
                    said = course.piece("", (), index)
                    yield sse.data({**said, "prompt_progress": course.progress(event)})
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


class _Course:
    """What is known of a stream's completions so far, with times as this process sees them."""

    def __init__(self, asked: Asked) -> None:
        n = len(asked.prompts) * asked.n
        self._n_each = asked.n
        self._now_s = asyncio.get_running_loop().time
        self._began_s = self._now_s()
        self._first_s = [0.0] * n
        # None where a prompt came as text, until a part of it has been read.
        self._n_prompt: list[int | None] = []
        for one in asked.prompts:
            self._n_prompt += [len(one) if isinstance(one, tuple) else None] * asked.n
        self._n_made = [0] * n
        self.has_new_line = [False] * n

    def read(self, index: int, progress: Progress) -> None:
        """A part of the prompt of completion `index`, and of those behind it, has been read."""
        self._n_prompt[index : index + self._n_each] = [progress.total_tokens] * self._n_each

    def made(self, index: int, tokens: Tokens) -> None:
        """Tokens have come."""
        self._first_s[index] = self._first_s[index] or self._now_s()
        self._n_made[index] += len(tokens.ids)
        self.has_new_line[index] |= "\n" in tokens.text

    def piece(self, text: str, ids: Sequence[int], index: int) -> dict[str, Any]:
        """A part of the stream."""
        n_made, n_prompt = self._n_made[index], self._n_prompt[index]
        return piece(text, ids, index, n_made=n_made, n_prompt=n_prompt)

    def progress(self, progress: Progress) -> dict[str, Any]:
        """`prompt_progress`, without `cache`: how much was kept from before is known at the end."""
        return {
            "total": progress.total_tokens,
            "processed": progress.done_tokens,
            "time_ms": round((self._now_s() - self._began_s) * 1e3),
        }

    def timings(self, index: int) -> dict[str, Any]:
        """`timings` so far."""
        first_ms = (self._first_s[index] - self._began_s) * 1e3
        total_ms = (self._now_s() - self._began_s) * 1e3
        timings = Timings(queued_ms=0.0, first_token_ms=first_ms, total_ms=total_ms)
        return timings_so_far(self._n_made[index], timings)
