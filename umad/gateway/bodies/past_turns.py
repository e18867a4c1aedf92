"""Reads what is odd in past turns: arguments that are no text, parts that a text model cannot read.

A client sends its whole history with every request, so a history that is refused once is refused
for ever. Past turns are therefore taken as they are: a call's arguments in whatever form, and what
cannot be read is named in the text. Only in the words to be answered now is a part refused that
cannot be read, because an answer would pass over it. All dialects use this module. Pure.
"""

import json
from typing import Annotated, Any

from pydantic import BeforeValidator

# What the types of the dialects' parts are called. Others are named by their type.
_NAMES = {
    "image": "an image",
    "image_url": "an image",
    "input_image": "an image",
    "audio": "a sound",
    "input_audio": "a sound",
    "video": "a video",
    "video_url": "a video",
    "input_video": "a video",
    "document": "a document",
    "file": "a file",
    "input_file": "a file",
}
_TYPE_CHARS = 64


def unread(kind: str) -> str:
    """The words that stand for a part of type `kind`."""
    what = _NAMES.get(kind, f"a part of type {kind[:_TYPE_CHARS]!r}")
    return f"[{what} stood here; this model reads only text]"


def json_text(value: Any) -> Any:
    """A call's arguments as JSON text, as OpenAI sends them. Ollama and Anthropic send an object,
    and many clients send null or a list. A text stays as it is, also one that was cut off.
    """
    if value is None:
        return "{}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# A past call's arguments.
Arguments = Annotated[str, BeforeValidator(json_text)]
