"""Reads the forms in which llama.cpp's clients write prompts, and makes tokens of them.

A prompt is a text, an array of token ids, an array that mixes both, or an object with
`prompt_string`, and with `multimodal_data` where it has images or sounds; an array of these is
several prompts.
Source: `tokenize_input_prompts` in llama.cpp's tools/server.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from umad.errors import BadRequest
from umad.gateway.marked_prompts import DATA, STRING, MarkedPrompt, marked_prompt
from umad.request import MAX_TOKEN_ID

MAX_PROMPTS = 64
# Makes tokens of a text. Control tokens written in it count as such; no beginning token is added.
TokenizeText = Callable[[str], Awaitable[tuple[int, ...]]]
# One prompt: a text, token ids, or a text with images and sounds.
OnePrompt = str | tuple[int, ...] | MarkedPrompt


async def prompts_of(
    given: Any, tokenize: TokenizeText, *, bos: int | None
) -> tuple[list[OnePrompt], bool]:
    """The prompts, and whether they came as one that is no array of prompts. Raises `BadRequest`
    naming the place. bos: the token before an array whose first element is a text; None for none.
    """
    if not _is_several(given):
        return [await _prompt(given, "prompt", tokenize, bos=bos)], True
    if not 1 <= len(given) <= MAX_PROMPTS:
        raise BadRequest(f"prompt: 1 to {MAX_PROMPTS} prompts are taken", field="prompt")
    found = [await _prompt(one, f"prompt.{at}", tokenize, bos=bos) for at, one in enumerate(given)]
    return found, False


def _is_several(given: Any) -> bool:
    """An array is one prompt where it has a token id in it."""
    return isinstance(given, list) and not any(type(one) is int for one in given)


async def _prompt(given: Any, field: str, tokenize: TokenizeText, *, bos: int | None) -> OnePrompt:
    if isinstance(given, dict):
        if given.get(DATA):
            return marked_prompt(given, field)
        given, field = given.get(STRING), f"{field}.{STRING}"
    if isinstance(given, str) and given:
        return given
    if not isinstance(given, list) or not given:
        raise BadRequest(
            f"{field}: a text, token ids or both in one array, and not empty", field=field
        )
    return await mixed_ids(given, field, tokenize, bos=bos)


async def mixed_ids(
    given: Any, field: str, tokenize: TokenizeText, *, bos: int | None
) -> tuple[int, ...]:
    """The tokens of a text, or of texts and token ids in one array. Raises `BadRequest` naming the
    place. bos: the token before a text that stands first; None for none.
    """
    parts = [given] if isinstance(given, str) else given
    if not isinstance(parts, list):
        raise BadRequest(f"{field}: a text, or an array of texts and token ids", field=field)
    ids: list[int] = [bos] if bos is not None and parts and isinstance(parts[0], str) else []
    for at, one in enumerate(parts):
        if isinstance(one, str):
            ids += await tokenize(one) if one else ()
        elif type(one) is int and 0 <= one <= MAX_TOKEN_ID:
            ids.append(one)
        else:
            raise BadRequest(f"{field}.{at}: a text or a token id", field=f"{field}.{at}")
    return tuple(ids)
