"""Reads a prompt with marks in the places of its images and sounds, as llama-server takes it.

    {"prompt_string": "Here: <__media__> What is it?", "multimodal_data": ["<base64>"]}

The marks stand for the files in their order. `/props` announces a mark that was drawn for this
process, which no text of a user can have; where a prompt does not have it, llama.cpp's own mark
counts. Pure but for the number drawn. Not: decoding a file.
Source: `tokenize_input_subprompt` and `get_media_marker` in llama.cpp's tools/server.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from umad.content import MAX_FILES, Piece, PlacedFile, joined
from umad.errors import BadRequest
from umad.gateway.written_files import of_any_kind

ANNOUNCED_MARK = f"<__media_{secrets.token_hex(16)}__>"
# `mtmd_default_marker` in llama.cpp's tools/mtmd.
DEFAULT_MARK = "<__media__>"
STRING, DATA = "prompt_string", "multimodal_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedPrompt:
    """A text and the files in it."""

    text: str
    media: tuple[PlacedFile, ...]
    # As it was written, with the marks.
    shown: str


def marked_prompt(given: Mapping[str, Any], field: str) -> MarkedPrompt:
    """The prompt of an object with `multimodal_data`; `field` is the object's place. Raises
    `BadRequest` where marks and files are not as many.
    """
    text, data = given.get(STRING), given.get(DATA)
    if not isinstance(text, str):
        raise BadRequest(
            f"{field}.{STRING}: a text, where there is {DATA}", field=f"{field}.{STRING}"
        )
    if not isinstance(data, list) or len(data) > MAX_FILES:
        raise BadRequest(
            f"{field}.{DATA}: an array of at most {MAX_FILES} files in base64",
            field=f"{field}.{DATA}",
        )
    mark = ANNOUNCED_MARK if ANNOUNCED_MARK in text else DEFAULT_MARK
    texts = text.split(mark)
    if len(texts) - 1 != len(data):
        raise BadRequest(
            f"{field}.{STRING} has {len(texts) - 1} marks {mark}, and {DATA} has {len(data)} "
            "files: there is one mark for each file",
            field=f"{field}.{DATA}",
        )
    pieces: list[Piece] = [texts[0]]
    for at, (one, behind) in enumerate(zip(data, texts[1:], strict=True)):
        pieces += [of_any_kind(one, f"{field}.{DATA}.{at}"), behind]
    said, media = joined(pieces)
    return MarkedPrompt(text=said, media=media, shown=text)
