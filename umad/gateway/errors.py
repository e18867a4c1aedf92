"""Maps every error to HTTP: one table from `UmadError` to a status and a kind.

A dialect turns a `Problem` into its own body (`umad.gateway.dialect.Dialect`). Not: error frames
of the socket (`umad.protocol.errors`) or exit codes (`umad.cli.exits`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from umad import errors
from umad.errors import InternalError, UmadError
from umad.protocol.errors import UNEXPECTED

# Sent as Retry-After if no better time is known: a queue drains in about so long.
RETRY_AFTER_S = 1
# nginx's number for a client that left, in the log; also for work cancelled by another caller.
CLIENT_GONE = 499


class HttpError(UmadError):
    """Refused by the gateway itself, before the daemon was asked.

    `kind` stands in place of a code, because codes are for errors that cross the socket.
    """

    status: ClassVar[int] = 400
    kind: ClassVar[str] = "bad_request"


class Unauthorized(HttpError):
    """No key, or none that is known."""

    status = 401
    kind = "unauthorized"


class Forbidden(HttpError):
    """The Host or Origin is not one that this gateway answers to."""

    status = 403
    kind = "forbidden"


class NoSuchPath(HttpError):
    """No endpoint has this path."""

    status = 404
    kind = "not_found"


class NotFound(HttpError):
    """The named thing, for example a stored response, does not exist (any more)."""

    status = 404
    kind = "not_found"


class WrongMethod(HttpError):
    """The path exists, but not for this method."""

    status = 405
    kind = "method_not_allowed"


class SlowBody(HttpError):
    """The body did not arrive in time."""

    status = 408
    kind = "request_timeout"


class BodyTooLarge(HttpError):
    """The body has more bytes than the limit."""

    status = 413
    kind = "body_too_large"


class EncodedBody(HttpError):
    """The body is compressed; the gateway does not decompress bodies."""

    status = 415
    kind = "unsupported_encoding"


class Crowded(HttpError):
    """There is no room for the body now; its bytes so far are dropped."""

    status = 503
    kind = "overloaded"
    retryable = True


class NoSlot(HttpError):
    """Every slot that the caller can see is busy."""

    status = 503
    kind = "unavailable"
    retryable = True


class StoreFailed(HttpError):
    """Responses cannot be stored or found."""

    status = 500
    kind = "store_failed"


class TooMany(HttpError):
    """A quota of requests or tokens is used up. `retry_after_s` is the time until it no longer
    is.
    """

    status = 429
    kind = "rate_limited"
    retryable = True

    def __init__(
        self, message: str, *, field: str | None = None, retry_after_s: float = RETRY_AFTER_S
    ) -> None:
        super().__init__(message, field=field)
        self.retry_after_s = retry_after_s


# The most specific class of an error decides.
STATUS: dict[type[UmadError], int] = {
    UmadError: 500,
    errors.InternalError: 500,
    errors.BadRequest: 400,
    errors.UnsupportedAudio: 415,
    errors.AudioTooLong: 413,
    errors.UnknownModel: 404,
    errors.UnknownRequest: 404,
    errors.OtherModel: 409,
    errors.Unsupported: 501,
    errors.LimitExceeded: 429,
    errors.Refused: 403,
    errors.ProtocolViolation: 502,
    errors.ModelLoadFailed: 400,  # the file that was named: not there, damaged, or too large
    errors.FetchFailed: 502,
    errors.AccessNeeded: 403,
    errors.DiskFull: 507,
    errors.EngineFailed: 503,
    errors.DeadlineExceeded: 504,
    errors.Cancelled: CLIENT_GONE,
    errors.ShuttingDown: 503,
    errors.NoDaemon: 503,
    errors.AlreadyRunning: 500,
    errors.ConnectionLost: 503,
    errors.ProxyFailed: 502,
    errors.BadConfig: 500,
}
_RETRY_STATUS = (429, 503)
_INDEX = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error as HTTP, before a dialect gives it a shape."""

    status: int
    # umad's own, stable.
    code: str
    message: str
    # Dotted path in the body.
    field: str | None
    # Whole seconds; None where trying again would not help.
    retry_after_s: int | None
    request_id: str


def in_terms_of(error: UmadError, names: Mapping[str, str]) -> UmadError:
    """`error` with the field at fault under the client's name. `names` maps umad's names to a
    dialect's. The path inside a field, such as a schema's, is kept behind its name.
    """
    field = error.field or ""
    for own in _beginnings(field):
        name = names.get(own)
        if name is None:
            continue
        error.field = name + _INDEX.sub(r".\1", field.removeprefix(own))
        if error.message.startswith((f"{field} ", f"{field}:")):
            error.message = error.field + error.message.removeprefix(field)
        break
    return error


def _beginnings(field: str) -> Iterator[str]:
    """The field, and every part of its path from the beginning, the longest first."""
    yield field
    for at in range(len(field) - 1, 0, -1):
        if field[at] in ".[":
            yield field[:at]


def problem_of(error: UmadError, request_id: str) -> Problem:
    """`error` as HTTP. Details of an unexpected error stay in the log."""
    if isinstance(error, HttpError):
        status, code, unexpected = error.status, error.kind, False
    else:
        status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
        code, unexpected = error.code, error.code == InternalError.code
    retry_after_s = None
    if isinstance(error, TooMany):
        retry_after_s = max(1, round(error.retry_after_s + 0.5))
    elif status in _RETRY_STATUS:
        retry_after_s = RETRY_AFTER_S
    return Problem(
        status=status,
        code=code,
        message=UNEXPECTED if unexpected else error.message,
        field=error.field,
        retry_after_s=retry_after_s,
        request_id=request_id,
    )
