"""Makes text of what an editor puts into a prompt. Pure."""

from collections.abc import Sequence
from typing import Any

from acp import schema

from umad.errors import Unsupported


def text_of(blocks: Sequence[Any]) -> str:
    """The prompt's text: words, links by their names, and the text of files that were embedded.

    Raises `Unsupported` for pictures, sounds and bytes: the models read text.
    """
    return "\n".join(part for block in blocks if (part := _part(block)))


def _part(block: Any) -> str:
    match block:
        case schema.TextContentBlock():
            return str(block.text)
        case schema.ResourceContentBlock():
            return f"[{block.name}]({block.uri})"
        case schema.EmbeddedResourceContentBlock():
            resource = block.resource
            if isinstance(resource, schema.TextResourceContents):
                return f'<file uri="{resource.uri}">\n{resource.text}\n</file>'
            raise Unsupported(f"{resource.uri} is no text; umad's models read text")
        case _:
            kind = getattr(block, "type", type(block).__name__)
            raise Unsupported(f"the prompt has a part of type {kind}; umad's models read text")
