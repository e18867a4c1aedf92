"""Reads and writes the field `asker` of a request: for whom a front end asks. Pure."""

from collections.abc import Mapping
from typing import Any

from umad.asker import ROLES, Asker
from umad.errors import BadRequest
from umad.protocol import fields
from umad.protocol.fields import nearest, quoted, wrong

MAX_OWNER_CHARS = 128
_FIELDS = ("owner", "role", "lane")
_read_owner = fields.text_of(MAX_OWNER_CHARS)


def write_asker(asker: Asker) -> Mapping[str, Any]:
    """The field's value. What is left out takes the daemon's default."""
    body = {"owner": asker.owner, "role": asker.role}
    return body if asker.lane is None else {**body, "lane": asker.lane}


def read_asker(name: str, value: Any) -> Asker:
    """Read a map of `owner`, `role` and, optional, `lane`."""
    if not isinstance(value, dict):
        raise wrong(name, "a map", value)
    for field in value:
        if field not in _FIELDS:
            raise BadRequest(
                f"{name} has no field {quoted(field)}{nearest(field, _FIELDS)}", field=name
            )
    for field in ("owner", "role"):
        if value.get(field) is None:
            raise BadRequest(f"{name} needs {field}", field=f"{name}.{field}")
    role = value["role"]
    if role not in ROLES:
        raise BadRequest(f"{name}.role is {' or '.join(ROLES)}", field=f"{name}.role")
    lane = value.get("lane")
    return Asker(
        owner=_read_owner(f"{name}.owner", value["owner"]),
        role=role,
        lane=None if lane is None else fields.read_name(f"{name}.lane", lane),
    )
