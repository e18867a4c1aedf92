"""Serves POST /v1/completions: continues a text, or fills the gap before its `suffix`.

A prompt's control tokens count as control tokens, because editors write fill-in-the-middle marks
there.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.types import ASGIApp

from umad.errors import BadRequest, Unsupported
from umad.gateway import sse
from umad.gateway.bodies.answers import TextCompletion
from umad.gateway.bodies.openai_completions import CompletionBody, OnePrompt
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.dialects.openai.logprobs import legacy_logprobs
from umad.gateway.dialects.openai.usage import now_s, reason_of, sum_usage
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.generation import Completion, GatewayGeneration, Shortcut, collect
from umad.gateway.marked_prompts import MarkedPrompt
from umad.gateway.merging import gathered, merged
from umad.gateway.token_bytes import shown
from umad.infill.prompt import FimTokens
from umad.request import GenerateRequest, SamplingParams, Usage
from umad.service import Done, Progress, TokenLogprob, Tokens

_NAMES = {"prompt_ids": "prompt", "ids": "prompt", "prompt_logprobs": "logprobs"}
_EMPTY = Usage(prompt_tokens=0, cached_tokens=0, completion_tokens=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One prompt's generation."""

    generation: GatewayGeneration
    # The prompt's text, if the answer is to echo it.
    before: str
    # The echo has log-probabilities.
    scores: bool = False
    # The prompt came as a text, and the model may have put its beginning token before it.
    is_text: bool = False
    # No tokens behind the prompt are wanted; the one that comes is left out.
    is_empty: bool = False


def _check(body: CompletionBody) -> None:
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise BadRequest("best_of: other than n is not supported", field="best_of")
    if body.scores_prompt and body.stream and (body.n or 1) > 1:
        raise Unsupported(
            "n: a stream with echo and logprobs has one completion of each prompt", field="n"
        )
    if body.echo and body.suffix:
        raise BadRequest("echo and suffix exclude each other", field="echo")


def _check_beside_files(body: CompletionBody) -> None:
    """Refuse what reads a prompt as nothing but text."""
    for name in ("suffix", "echo"):
        if getattr(body, name):
            raise Unsupported(f"{name}: a prompt with images or sounds has none", field=name)
    if body.max_tokens == 0:
        raise Unsupported(
            "max_tokens: with images or sounds in the prompt it is at least 1", field="max_tokens"
        )


async def _run(call: GatewayCall, body: CompletionBody, prompt: OnePrompt) -> _Run:
    """Start the generation of one prompt."""
    if isinstance(prompt, MarkedPrompt):
        sampling = _sampling(body)
        request = GenerateRequest(
            prompt=prompt.text, media=prompt.media, sampling=sampling, **body.place()
        )
        return _Run(generation=await call.open(request), before="", is_text=True)
    text = prompt if isinstance(prompt, str) else None
    ids = None if isinstance(prompt, str) else prompt
    if body.suffix:
        ids, text = await _between(call, body, prompt), None
    request = GenerateRequest(
        prompt=text,
        prompt_ids=ids,
        sampling=_sampling(body),
        **body.place(),
    )
    generation = await call.open(request)
    before = ""
    if body.echo:
        before = text or await call.detokenize(ids or (), generation.accepted.model)
    return _Run(
        generation=generation,
        before=before,
        scores=body.scores_prompt,
        is_text=isinstance(prompt, str),
        is_empty=body.max_tokens == 0,
    )


def _sampling(body: CompletionBody) -> SamplingParams:
    """The sampling of one prompt. Where no tokens are wanted, reading a prompt still ends with
    one.
    """
    most = body.max_tokens
    sampling = body.sampling(max_tokens=1 if most == 0 else most, logprobs=body.logprobs)
    return replace(sampling, prompt_logprobs=body.logprobs) if body.scores_prompt else sampling


async def _between(
    call: GatewayCall, body: CompletionBody, prompt: str | tuple[int, ...]
) -> tuple[int, ...]:
    """Prompt and suffix with the model's fill-in-the-middle marks around them, and its beginning
    where it wants one. A model that a request would load is loaded for its marks.
    """
    model = await call.model(body.model)
    try:
        marks = FimTokens.of_facts(await call.shared.models.facts(model))
    except Unsupported as error:
        raise Unsupported(error.message, field="suffix") from None
    before = (
        await call.tokenize(prompt, model=model, special=False)
        if isinstance(prompt, str)
        else prompt
    )
    after = await call.tokenize(body.suffix or "", model=model, special=False)
    bos = () if marks.bos is None else (marks.bos,)
    return (*bos, marks.prefix, *before, marks.suffix, *after, marks.middle)


async def _completions(call: GatewayCall) -> ASGIApp:
    body = call.body(CompletionBody)
    _check(body)
    prompts = body.prompts()
    texts = [one for one in prompts if not isinstance(one, MarkedPrompt)]
    if len(texts) < len(prompts):
        _check_beside_files(body)
    if body.max_tokens == 0 and not body.scores_prompt:
        return await _nothing(call, body, texts)
    # All at once: each waits a moment for an early error.
    runs = await gathered(_run(call, body, prompt) for prompt in prompts)
    n = body.n or 1
    if body.stream:
        options = body.stream_options
        include_usage = options is not None and options.include_usage
        chunks = _Chunks(call, runs, n, include_usage=include_usage)
        return call.stream(chunks.all(), shortcut=chunks.shortcut())
    collected = await gathered(collect(run.generation, n) for run in runs)
    choices = [
        await _choice(call, run, at * n + one.index, one)
        for at, (run, row) in enumerate(zip(runs, collected, strict=True))
        for one in row
    ]
    return answer(
        {
            **_same(call, runs[0].generation.accepted.model),
            "choices": choices,
            "usage": sum_usage(
                [_usage(run, one.usage) for one in row]
                for run, row in zip(runs, collected, strict=True)
            ),
        }
    )


def _usage(run: _Run, usage: Usage) -> Usage:
    return replace(usage, completion_tokens=0) if run.is_empty else usage


async def _nothing(
    call: GatewayCall, body: CompletionBody, prompts: Sequence[str | tuple[int, ...]]
) -> ASGIApp:
    """Answer a request for no tokens with the prompt itself; programs that score prompts send such
    requests.
    """
    # The rest of the body is checked even if no tokens are asked for.
    sampling = body.sampling(max_tokens=None, logprobs=body.logprobs)
    GenerateRequest(prompt="-", sampling=sampling, **body.place()).check()
    model = await call.model(body.model)
    n, choices, prompt_tokens = body.n or 1, [], 0
    for at, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            text = prompt
            prompt_tokens += len(await call.tokenize(prompt, model=model))
        else:
            text = await call.detokenize(prompt, model)
            prompt_tokens += len(prompt)
        said = text if body.echo else ""
        choices += [_entry(at * n + index, said, None, "length") for index in range(n)]
    usage = sum_usage([[replace(_EMPTY, prompt_tokens=prompt_tokens)]])
    if body.stream:
        return call.stream(_events(_same(call, model), choices, _wanted_usage(body, usage)))
    return answer({**_same(call, model), "choices": choices, "usage": usage})


def _wanted_usage(body: CompletionBody, usage: dict[str, Any]) -> dict[str, Any] | None:
    options = body.stream_options
    return usage if options is not None and options.include_usage else None


async def _events(
    same: dict[str, Any], choices: Sequence[dict[str, Any]], usage: dict[str, Any] | None
) -> AsyncGenerator[bytes, None]:
    """Choices that are known already, as a stream. `usage` is sent if it was asked for."""
    unknown: dict[str, Any] = {} if usage is None else {"usage": None}
    for one in choices:
        yield sse.data({**same, "choices": [one], **unknown})
    if usage is not None:
        yield sse.data({**same, "choices": [], "usage": usage})
    yield sse.DONE


def _same(call: GatewayCall, model: str) -> dict[str, Any]:
    return {
        "id": f"cmpl-{call.id}",
        "object": "text_completion",
        "created": now_s(),
        "model": model,
    }


def _entry(
    index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


async def _choice(call: GatewayCall, run: _Run, index: int, one: Completion) -> dict[str, Any]:
    rows = [] if run.is_empty else one.logprobs
    text = run.before if run.is_empty else run.before + one.text
    logprobs = None
    if run.scores:
        logprobs = await _scored(call, run, rows)
    elif rows:
        model, tokens = run.generation.accepted.model, call.shared.token_bytes
        logprobs = await legacy_logprobs(tokens, model, rows, offset=len(run.before))
    reason = "length" if run.is_empty else reason_of(one.finish_reason)
    return _entry(index, text, logprobs, reason)


async def _scored(call: GatewayCall, run: _Run, rows: Sequence[TokenLogprob]) -> dict[str, Any]:
    """`logprobs` of the prompt's tokens, and of the `rows` behind them. The beginning token that
    the model puts before a text is no part of the echo.
    """
    generation = run.generation
    model, tokens = generation.accepted.model, call.shared.token_bytes
    facts = await call.shared.models.facts(model)
    first, told = generation.first_token, generation.prompt_logprobs
    has_bos = run.is_text and bool(facts.get("adds_bos")) and first == facts.get("bos_token")
    prompt = [told[place] for place in sorted(told)]
    logprobs = await legacy_logprobs(tokens, model, [*prompt, *rows], offset=0)
    if has_bos:
        return logprobs
    if first is None:  # the prompt is one token
        first = next(iter(await call.tokenize(run.before, model=model)), None)
    piece = "" if first is None else shown((await tokens.of(model, [first]))[first])
    return {
        "tokens": [piece, *logprobs["tokens"]],
        # Nothing stands before the first token, so it has no probability.
        "token_logprobs": [None, *logprobs["token_logprobs"]],
        "top_logprobs": [None, *logprobs["top_logprobs"]],
        "text_offset": [0, *[len(piece) + one for one in logprobs["text_offset"]]],
    }


class _Chunks:
    """Server-sent events of every completion."""

    def __init__(
        self, call: GatewayCall, runs: Sequence[_Run], n: int, *, include_usage: bool
    ) -> None:
        self._call = call
        self._runs = runs
        self._n = n
        self._model = runs[0].generation.accepted.model
        self._same = _same(call, self._model)
        self._usage: dict[str, Any] = {"usage": None} if include_usage else {}
        self._templates: dict[int, sse.Template] = {}
        # Characters so far, by completion.
        self._written = [len(run.before) for run in runs for _ in range(n)]

    def shortcut(self) -> Shortcut | None:
        """The short way of a single prompt; several prompts are heard through a queue and have
        none.
        """
        if len(self._runs) > 1 or self._runs[0].scores:
            return None

        def piece(event: Tokens) -> bytes | None:
            return None if event.logprobs is not None else self._said(event.index, event.text)

        return Shortcut(generation=self._runs[0].generation, piece_of=piece)

    async def all(self) -> AsyncGenerator[bytes, None]:
        """All of them, `[DONE]` last."""
        usages: list[list[Usage]] = [[] for _ in self._runs]
        # An echo with log-probabilities comes when they are all there.
        echoes = {at: run for at, run in enumerate(self._runs) if run.scores}
        for at, run in enumerate(self._runs):
            for index in range(at * self._n, (at + 1) * self._n):
                if run.before and not run.scores:
                    yield self._chunk(_entry(index, run.before, None, None))
        async for at, heard in merged([run.generation for run in self._runs]):
            if isinstance(heard, Progress):
                yield sse.comment(f"prefill {heard.done_tokens}/{heard.total_tokens}")
                continue
            index, run = at * self._n + heard.index, self._runs[at]
            if echoes.pop(at, None) is not None:
                echoed = await _scored(self._call, run, ())
                yield self._chunk(_entry(index, run.before, echoed, None))
            if isinstance(heard, Done):
                usages[at].append(_usage(run, heard.usage))
                reason = "length" if run.is_empty else reason_of(heard.finish_reason)
                yield self._chunk(_entry(index, "", None, reason))
            elif run.is_empty:
                continue
            elif heard.logprobs:
                yield await self._scored(index, heard.text, heard.logprobs)
            elif heard.text:  # empty: half a character, or text that may become a stop string
                yield self._said(index, heard.text)
        if self._usage:
            yield sse.data({**self._same, "choices": [], "usage": sum_usage(usages)})
        yield sse.DONE

    def _said(self, index: int, text: str) -> bytes:
        if not text:
            return b""
        self._written[index] += len(text)
        template = self._templates.get(index)
        if template is None:
            template = sse.Template(self._chunk(_entry(index, sse.HOLE, None, None)))
            self._templates[index] = template
        return template.with_text(text)

    async def _scored(self, index: int, text: str, rows: Sequence[TokenLogprob]) -> bytes:
        tokens, offset = self._call.shared.token_bytes, self._written[index]
        logprobs = await legacy_logprobs(tokens, self._model, rows, offset=offset)
        self._written[index] += len(text)
        return self._chunk(_entry(index, text, logprobs, None))

    def _chunk(self, entry: dict[str, Any]) -> bytes:
        return sse.data({**self._same, "choices": [entry], **self._usage})


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/completions",
        handle=_completions,
        dialect=OPENAI,
        summary="Continue a text",
        answer=TextCompletion,
        streams=sse.EVENTS,
        body=CompletionBody,
        is_work=True,
        names=_NAMES,
    ),
)
