"""Takes a form with files apart: multipart/form-data (RFC 7578), from a body that is here whole.

Every part is a slice of the body and no copy, but for the one file. Pure.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from umad.errors import BadRequest

_BOUNDARY = re.compile(r'boundary=(?:"([^"\r\n]{1,200})"|([^\s;,]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'\bname="((?:[^"\\]|\\.)*)"')
_FILE_NAME = re.compile(rb"\bfilename\*?=")
_MOST_PARTS = 64
_MOST_HEAD_BYTES = 4096
# The longest field that is no file.
_MOST_FIELD_BYTES = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The fields of a form. A field that comes several times has all its values."""

    fields: dict[str, list[str]]
    # Of the one part that is a file, whatever its name; None where there is none.
    file: bytes | None = None

    def one(self, name: str) -> str | None:
        """The only value of a field; None where it has none. Raises `BadRequest` for several."""
        values = self.fields.get(name, [])
        if len(values) > 1:
            raise BadRequest(f"{name} is there {len(values)} times", field=name)
        return values[0] if values else None


def read_form(content_type: str, body: bytes, *, file: str) -> Form:
    """The form in a body. file: the name of the field that is the file. Raises `BadRequest`."""
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or found is None:
        raise BadRequest(
            "the body is a form with a file: multipart/form-data, as "
            "curl -F file=@recording.wav -F model=… sends it"
        )
    boundary = (found[1] or found[2]).encode()
    fields: dict[str, list[str]] = {}
    content = None
    for name, data, is_file in _parts(body, b"--" + boundary):
        if name == file:
            if content is not None:
                raise BadRequest(f"{file} is there twice; one file is taken", field=file)
            content = data.tobytes()
        elif is_file:
            raise BadRequest(f"{name} is no field for a file", field=name)
        elif len(data) > _MOST_FIELD_BYTES:
            raise BadRequest(f"{name} has more than {_MOST_FIELD_BYTES} bytes", field=name)
        else:
            fields.setdefault(name, []).append(data.tobytes().decode("utf-8", "replace"))
    return Form(fields=fields, file=content)


def _parts(body: bytes, mark: bytes) -> Iterator[tuple[str, memoryview, bool]]:
    """Name, content, and whether it is a file, of each part."""
    at = body.find(mark)
    whole = memoryview(body)
    for _ in range(_MOST_PARTS + 1):
        if at < 0:
            raise BadRequest("the form is cut short: its last boundary is missing")
        at += len(mark)
        if body[at : at + 2] == b"--":
            return
        head_ends = body.find(b"\r\n\r\n", at, at + _MOST_HEAD_BYTES)
        if head_ends < 0:
            raise BadRequest("a part of the form has no head, or one that is too long")
        ends = body.find(b"\r\n" + mark, head_ends + 2)
        if ends < 0:
            raise BadRequest("the form is cut short: its last boundary is missing")
        name, is_file = _named(body[at:head_ends])
        yield name, whole[head_ends + 4 : max(ends, head_ends + 4)], is_file
        at = ends + 2
    raise BadRequest(f"the form has more than {_MOST_PARTS} parts")


def _named(head: bytes) -> tuple[str, bool]:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-disposition:"):
            found = _NAME.search(line)
            if found is not None:
                return found[1].decode("utf-8", "replace"), _FILE_NAME.search(line) is not None
    raise BadRequest("a part of the form has no name")
