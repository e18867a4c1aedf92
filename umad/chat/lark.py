"""Writes the pieces of grammars in llguidance's dialect of Lark. Pure."""

import json
from collections.abc import Mapping
from typing import Any

# Between the parts of JSON. Bounded: a weak model that may write spaces does so for ever.
JSON_WHITESPACE = r"[ \n\r\t]{1,24}"


def as_lark(text: str) -> str:
    """`text` as a literal."""
    return json.dumps(text, ensure_ascii=False)


def json_value(schema: Mapping[str, Any]) -> str:
    """Any JSON that fits the schema."""
    spaced = {"x-guidance": {"whitespace_pattern": JSON_WHITESPACE}, **schema}
    return f"%json {json.dumps(spaced, ensure_ascii=False)}"
