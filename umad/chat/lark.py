"""Writes the pieces of grammars in llguidance's dialect of Lark. Pure."""

import json
from collections.abc import Mapping
from typing import Any

# llguidance's options for JSON without white space between its parts: a weak model that may write
# spaces does so for ever.
COMPACT: Mapping[str, Any] = {"whitespace_flexible": False}
# The same for the arguments of calls: models learnt to write a blank behind colons and commas.
CALLS: Mapping[str, Any] = {**COMPACT, "item_separator": ", ?", "key_separator": ": ?"}
# White space for models that need it. Bounded for the same reason.
JSON_WHITESPACE = r"[ \n\r\t]{1,24}"


def as_lark(text: str) -> str:
    """`text` as a literal."""
    return json.dumps(text, ensure_ascii=False)


def json_value(schema: Mapping[str, Any], options: Mapping[str, Any] = COMPACT) -> str:
    """Any JSON that fits the schema. The schema's own options stand before `options`."""
    return f"%json {json.dumps({'x-guidance': options, **schema}, ensure_ascii=False)}"
