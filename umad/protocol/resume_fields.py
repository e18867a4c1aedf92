"""Reads and writes `resume`: the beginning of an answer that is to be continued."""

from collections.abc import Mapping
from typing import Any

from umad.errors import BadRequest
from umad.protocol.fields import nearest, quoted, read_text, read_token_ids, wrong
from umad.request import AnswerSoFar

_NAMES = ("tokens", "fingerprint")


def read_resume(name: str, value: Any) -> AnswerSoFar:
    """A map of the tokens so far, and the fingerprint of the model that wrote them."""
    if not isinstance(value, dict):
        raise wrong(name, "a map of tokens and fingerprint", value)
    for key in value:
        if key not in _NAMES:
            raise BadRequest(f"{name} has no field {quoted(key)}{nearest(key, _NAMES)}", field=name)
    for key in _NAMES:
        if value.get(key) is None:
            raise BadRequest(f"{name} needs {key}", field=f"{name}.{key}")
    return AnswerSoFar(
        tokens=read_token_ids(f"{name}.tokens", value["tokens"]),
        fingerprint=read_text(f"{name}.fingerprint", value["fingerprint"]),
    )


def write_resume(begun: AnswerSoFar) -> Mapping[str, Any]:
    """The value of `resume`."""
    return {"tokens": begun.tokens, "fingerprint": begun.fingerprint}
