"""Builds a fill-in-the-middle prompt from the model's own tokens, as llama-server does.

    [repo] name, ([separator] file name, text)*, [separator] file,
    [prefix] before the cursor + typed [suffix] after it [middle]

Source: `format_prompt_infill` in llama.cpp's tools/server; the pattern over several files is
Qwen2.5-Coder's (arXiv 2409.12186). Each piece of text is tokenized by itself and without control
tokens, so a user's file can never contain a mark.

Text that is too long is cut in strides: while somebody types, the prompt keeps its beginning, and
the daemon computes only its end. Pure, but for the tokenizer it is given.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from umad.errors import Unsupported

TokenizeText = Callable[[str], Awaitable[tuple[int, ...]]]

# llama-server's batch: enough text around the cursor to help, and little enough to be quick.
WINDOW_TOKENS = 2048
# The cut before the cursor moves by an eighth of what may stand there.
_STRIDES = 8
_NEEDED = ("prefix", "suffix", "middle")
_SNIPPET = "\n\n--- snippet ---\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class FimTokens:
    """The fill-in-the-middle marks of one model, as token ids."""

    prefix: int
    suffix: int
    middle: int
    # None where the model knows one file only.
    repo: int | None = None
    # None where the model knows one file only.
    separator: int | None = None
    # Begins the prompt, if the model wants that.
    bos: int | None = None

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> "FimTokens":
        """The marks of a model as `models` describes it. Raises `Unsupported` if marks are
        missing.
        """
        known: Mapping[str, int] = facts.get("fim_tokens") or {}
        missing = [name for name in _NEEDED if name not in known]
        if missing:
            raise Unsupported(
                f"the model {facts.get('name')} cannot fill in the middle: "
                f"it has no token for {', '.join(missing)}"
            )
        return cls(
            prefix=known["prefix"],
            suffix=known["suffix"],
            middle=known["middle"],
            repo=known.get("repo"),
            separator=known.get("separator"),
            bos=facts.get("bos_token") if facts.get("adds_bos") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The text around a gap."""

    before: str
    after: str
    # The text behind `before`; it is never cut.
    typed: str = ""
    # (name, text) of other files, the most important last.
    files: Sequence[tuple[str, str]] = ()
    # The file's own name, for models that know of several; "" where it is not known.
    name: str = ""
    # The project's name, for the same models.
    project: str = ""


async def prompt_ids(
    gap: Gap, marks: FimTokens, tokenize: TokenizeText, *, cells: int, n_predict: int
) -> tuple[int, ...]:
    """The prompt, cut to the room there is. Of the files the end is kept; around the cursor three
    parts before it to one after it. `cells`: of the model's context. `n_predict`: tokens to be
    generated.
    """
    n_predict = _kept_free(cells, n_predict)
    window = _window(cells, n_predict)
    typed = await tokenize(gap.typed)
    before = _end_of(await tokenize(gap.before), 3 * (window // 4))
    after = (await tokenize(gap.after))[: max(0, window // 4 - 3 - len(typed))]
    room = max(0, cells - window - 2 * n_predict)
    files = _last(await _file_ids(gap, marks, tokenize), room)
    bos = () if marks.bos is None else (marks.bos,)
    return (*files, *bos, marks.prefix, *before, *typed, marks.suffix, *after, marks.middle)


async def continuation_ids(
    before: str, tokenize: TokenizeText, *, bos: int | None, cells: int, n_predict: int
) -> tuple[int, ...]:
    """The prompt for a model without marks, which goes on behind `before` and sees nothing else;
    empty where there is nothing to go on from.
    """
    ids = _end_of(await tokenize(before), _window(cells, _kept_free(cells, n_predict)))
    return ids if bos is None or not ids else (bos, *ids)


async def _file_ids(gap: Gap, marks: FimTokens, tokenize: TokenizeText) -> tuple[int, ...]:
    """Tokens of the other files and of this one's name; empty where neither is known, because the
    project's name alone does not help.
    """
    if not gap.files and (not gap.name or marks.separator is None):
        return ()
    ids: list[int] = []
    if marks.repo is not None:
        ids += (marks.repo, *await tokenize(f"{gap.project or 'project'}\n"))
    for name, text in gap.files:
        if marks.separator is None:
            ids += await tokenize(_SNIPPET)
        else:
            ids += (marks.separator, *await tokenize(f"{name or 'file'}\n"))
        ids += await tokenize(text)
    if marks.separator is not None:
        ids += (marks.separator, *await tokenize(f"{gap.name or 'this file'}\n"))
    return tuple(ids)


def _kept_free(cells: int, n_predict: int) -> int:
    """Cells that are the answer's. An answer that wants more gets what is left: an editor that
    allows a long one does not want it without the text around it.
    """
    return min(n_predict, cells // 2)


def _window(cells: int, n_predict: int) -> int:
    # One cell is for BOS; the last generated token needs no cell.
    return max(8, min(WINDOW_TOKENS, cells - n_predict - 1))


def _end_of(ids: tuple[int, ...], most: int) -> tuple[int, ...]:
    """At most `most` of the last ids; the beginning moves in strides as `ids` grows."""
    beyond = len(ids) - most
    if beyond <= 0:
        return ids
    stride = max(1, most // _STRIDES)
    return ids[-(-beyond // stride) * stride :]


def _last(ids: tuple[int, ...], n: int) -> tuple[int, ...]:
    return ids[max(0, len(ids) - n) :]
