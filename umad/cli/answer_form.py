"""Reads `--format`: the word json, a file with a JSON schema, or the schema itself."""

import json
import os

from umad.constraint import MAX_GRAMMAR_CHARS, Constraint
from umad.errors import BadRequest

JSON = "json"


def constraint_of(form: str) -> Constraint:
    """The form that answers must have. Raises `BadRequest` naming the file or what is wrong."""
    if form == JSON:
        return Constraint.json_schema({"type": "object"})
    text = form if form.lstrip().startswith("{") else _read(form)
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(
            f"--format: {form[:80]} is no JSON schema: {error}", field="format"
        ) from error
    constraint = Constraint.json_schema(text)
    constraint.check()
    return constraint


def _read(name: str) -> str:
    try:
        with open(os.path.expanduser(name), encoding="utf-8-sig") as file:
            return file.read(MAX_GRAMMAR_CHARS + 1)
    except OSError as error:
        raise BadRequest(
            f"--format is json or a file with a JSON schema; {name}: {error.strerror}",
            field="format",
        ) from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"--format: {name} is not UTF-8 text", field="format") from error
