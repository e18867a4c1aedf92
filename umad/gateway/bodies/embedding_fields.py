"""Describes the fields that every body with texts to embed or to rank has, in every dialect.

`truncate` says what happens to a text that is too long: it is refused by its number, or its end is
cut off. `task` says what the vectors are for. Both are umad's own where a dialect has no such
field, under the names that other makers' interfaces have for them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, StrictBool

from umad.gateway.bodies.base import Body
from umad.gateway.bodies.values import read_flag

_CUTS = {"none": False, "end": True, "right": True}
_CUTS_BEGINNING = ("start", "left")


def _truncate(value: Any) -> Any:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _CUTS_BEGINNING:
            raise ValueError("the end of a text is cut off, never its beginning: true, or end")
        if word in _CUTS:
            return _CUTS[word]
    return read_flag(value)


# true cuts the end off; false refuses. Cohere and NVIDIA write END and NONE.
Truncate = Annotated[StrictBool, BeforeValidator(_truncate, json_schema_input_type=bool | str)]


class TextFields(Body):
    """What happens to texts that are too long."""

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"truncate": ("truncation",)}

    truncate: Truncate = False


class EmbedFields(TextFields):
    """The same, and what the vectors are for: query, document, or another task of the model's card
    (`umad.embedding.task_named`).
    """

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **TextFields.other_names,
        "task": ("input_type", "task_type", "prompt_name"),
    }

    task: str | None = None
