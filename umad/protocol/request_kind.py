"""Defines a row of the table by which requests are read: a type's fields and what is made of them.

Not: the rows (`umad.protocol.parsing`, `umad.protocol.job_kinds`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from umad.protocol.fields import FieldReader
from umad.protocol.requests import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKind:
    """One type of request."""

    # Its fields besides type and id, each with its reader.
    readers: Mapping[str, FieldReader]
    required: tuple[str, ...] = ()
    # Makes the request from the checked values.
    build: Callable[..., Request]
