"""A fill-in-the-middle prompt out of the model's own tokens, as llama-server puts it together.

    [repo] name, ([separator] file name, text)*, [separator] file,
    [prefix] before the cursor + typed [suffix] after it [middle]

Source: `format_prompt_infill` in llama.cpp's tools/server; the pattern over several files is
Qwen2.5-Coder's (arXiv 2409.12186). Text is made tokens piece by piece and without control tokens:
what stands in somebody's file is never a mark. Pure, but for the tokenizer it is given.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from umad.errors import Unsupported
from umad.gateway.bodies.llamacpp import InfillBody
from umad.request import GenerateRequest, SamplingParams

Tokenize = Callable[[str], Awaitable[tuple[int, ...]]]

# llama-server's batch: as much around the cursor as helps, little enough to be quick.
WINDOW_TOKENS = 2048
_NEEDED = ("prefix", "suffix", "middle")
_SNIPPET = "\n\n--- snippet ---\n\n"
_WHOLE_PROMPT_TOKENS = 1_000_000
_SAME_NAME = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "presence_penalty",
    "frequency_penalty",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FimTokens:
    """Marks of one model. repo and separator are None where it knows one file only."""

    prefix: int
    suffix: int
    middle: int
    repo: int | None = None
    separator: int | None = None
    bos: int | None = None

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> "FimTokens":
        """Of a model as `models` describes it. Raises `Unsupported` where marks are missing."""
        known: Mapping[str, int] = facts.get("fim_tokens") or {}
        missing = [name for name in _NEEDED if name not in known]
        if missing:
            raise Unsupported(
                f"the model {facts.get('name')} has no tokens for infill: "
                f"{', '.join(missing)} missing"
            )
        return cls(
            **{name: known[name] for name in _NEEDED},
            repo=known.get("repo"),
            separator=known.get("separator"),
            bos=facts.get("bos_token") if facts.get("adds_bos") else None,
        )


async def prompt_ids(
    body: InfillBody, marks: FimTokens, tokenize: Tokenize, *, cells: int, n_predict: int
) -> tuple[int, ...]:
    """The prompt, cut to what fits: of the files the end, around the cursor three parts before it
    to one after it. cells: of the model's context. n_predict: tokens that will be generated."""
    window = max(8, min(WINDOW_TOKENS, cells - n_predict))
    typed = await tokenize(body.prompt)
    before = _last(await tokenize(body.input_prefix), 3 * (window // 4))
    after = (await tokenize(body.input_suffix))[: max(0, window // 4 - 2 - len(typed))]
    extra = await _extra_ids(body, marks, tokenize)
    room = max(0, cells - window - 2 * n_predict)
    bos = () if marks.bos is None else (marks.bos,)
    return (
        *_last(extra, room),
        *bos,
        marks.prefix,
        *before,
        *typed,
        marks.suffix,
        *after,
        marks.middle,
    )


async def _extra_ids(body: InfillBody, marks: FimTokens, tokenize: Tokenize) -> tuple[int, ...]:
    ids: list[int] = []
    if marks.repo is not None:
        ids += (marks.repo, *await tokenize("myproject\n"))
    for file in body.input_extra:
        if marks.separator is None:
            ids += await tokenize(_SNIPPET)
        else:
            ids += (marks.separator, *await tokenize(f"{file.filename or 'tmp'}\n"))
        ids += await tokenize(file.text)
    if marks.separator is not None:
        ids += (marks.separator, *await tokenize("filename\n"))
    return tuple(ids)


def _last(ids: tuple[int, ...], n: int) -> tuple[int, ...]:
    return ids[max(0, len(ids) - n) :]


def request_of(
    body: InfillBody, ids: tuple[int, ...], *, model: str | None, n_predict: int
) -> GenerateRequest:
    """The generation that fills in. Fields that were not given stay umad's defaults."""
    given: dict[str, Any] = {
        name: value for name in _SAME_NAME if (value := getattr(body, name)) is not None
    }
    if body.repeat_penalty is not None:
        given["repetition_penalty"] = body.repeat_penalty
    if body.repeat_last_n is not None:
        last_n = body.repeat_last_n
        given["penalty_last_n"] = _WHOLE_PROMPT_TOKENS if last_n < 0 else last_n
    if body.seed is not None and body.seed >= 0:
        given["seed"] = body.seed
    sampling = SamplingParams(
        max_tokens=n_predict, fit=True, stop=tuple(body.stop), ignore_eos=body.ignore_eos, **given
    )
    return GenerateRequest(prompt_ids=ids, model=model, sampling=sampling)
