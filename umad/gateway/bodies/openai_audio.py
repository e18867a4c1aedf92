"""Reads the form of POST /v1/audio/transcriptions and /v1/audio/translations.

https://platform.openai.com/docs/api-reference/audio. Fields that mean something to OpenAI's servers
alone are ignored, as in other bodies of foreign dialects.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from umad.errors import BadRequest
from umad.gateway.bodies.multipart import Form, read_form
from umad.transcription import MAX_TEMPERATURE

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]
Granularity = Literal["segment", "word"]
_FLAGS = {"true": True, "1": True, "false": False, "0": False, "": False}
V = TypeVar("V")

# The form in words of OpenAPI 3.1, where the content of a file is a string.
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "model": {"type": "string"},
        "language": {"type": "string"},
        "languages[]": {"type": "array", "items": {"type": "string"}},
        "prompt": {"type": "string"},
        "keywords[]": {"type": "array", "items": {"type": "string"}},
        "response_format": {"type": "string", "enum": list(get_args(ResponseFormat))},
        "temperature": {"type": "number", "minimum": 0, "maximum": MAX_TEMPERATURE},
        "timestamp_granularities[]": {
            "type": "array",
            "items": {"type": "string", "enum": list(get_args(Granularity))},
        },
        "stream": {"type": "boolean"},
        "lane": {"type": "string"},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioForm:
    """The whole form."""

    file: bytes
    model: str | None
    language: str | None
    prompt: str | None
    response_format: ResponseFormat
    temperature: float
    granularities: frozenset[Granularity]
    stream: bool
    # umad's own.
    lane: str | None


def read_audio_form(content_type: str, body: bytes) -> AudioForm:
    """The form in a body. Raises `BadRequest` naming the field that is wrong."""
    form = read_form(content_type, body, file="file")
    if form.file is None:
        raise BadRequest("file is missing: the recording", field="file")
    if not form.file:
        raise BadRequest("file is empty: there is nothing to hear", field="file")
    read = AudioForm(
        file=form.file,
        model=form.one("model") or None,
        language=form.one("language") or _only_language(form),
        prompt=_prompt(form),
        response_format=_read(form, "response_format", _format, "json"),
        temperature=_read(form, "temperature", _temperature, 0.0),
        granularities=_granularities(form),
        stream=_read(form, "stream", _flag, False),
        lane=form.one("lane") or None,
    )
    if read.granularities and read.response_format != "verbose_json":
        raise BadRequest(
            "timestamp_granularities needs response_format verbose_json",
            field="timestamp_granularities",
        )
    if read.stream and read.response_format not in ("json", "text"):
        raise BadRequest(
            f"stream sends text as it comes, and no {read.response_format}; leave one of them out",
            field="stream",
        )
    return read


def _several(form: Form, name: str) -> list[str]:
    """The values of a field that may have several: OpenAI's package writes `[]` behind its name."""
    return [value for one in (f"{name}[]", name) for value in form.fields.get(one, []) if value]


def _only_language(form: Form) -> str | None:
    """Of several possible languages the model finds out which it is."""
    languages = _several(form, "languages")
    return languages[0] if len(languages) == 1 else None


def _prompt(form: Form) -> str | None:
    """What the model reads before: words to expect are words that have been said."""
    words = [form.one("prompt") or "", ", ".join(_several(form, "keywords"))]
    return "\n".join(one for one in words if one) or None


def _read(form: Form, name: str, read: Callable[[str, str], V], default: V) -> V:
    value = form.one(name)
    return default if value is None or value == "" else read(name, value)


def _format(name: str, value: str) -> ResponseFormat:
    for one in get_args(ResponseFormat):
        if one == value:
            known: ResponseFormat = one
            return known
    raise BadRequest(f"{name} is one of {', '.join(get_args(ResponseFormat))}", field=name)


def _temperature(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= MAX_TEMPERATURE:
        raise BadRequest(f"{name} is a number from 0 to {MAX_TEMPERATURE:g}", field=name)
    return number


def _flag(name: str, value: str) -> bool:
    flag = _FLAGS.get(value.lower())
    if flag is None:
        raise BadRequest(f"{name} is true or false", field=name)
    return flag


def _granularities(form: Form) -> frozenset[Granularity]:
    name = "timestamp_granularities"
    found: set[Granularity] = set()
    for value in _several(form, name):
        if value == "word":
            found.add("word")
        elif value == "segment":
            found.add("segment")
        else:
            raise BadRequest(f"{name} are of segment and word", field=name)
    return frozenset(found)
