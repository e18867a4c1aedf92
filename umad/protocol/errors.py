"""Maps `UmadError` to the fields of an error message and back. The one mapping between the two.

Not: the frame around it (`umad.protocol.events`), exit codes or HTTP statuses.
"""

from umad import errors
from umad.errors import InternalError, UmadError, UnsupportedVersion
from umad.service import Failed

# The only text a client gets about an unexpected error; the log has the rest.
UNEXPECTED = "something unexpected went wrong in the daemon; its log has the detail"


class ForeignError(UmadError):
    """An error with a code that this version does not know, kept as it came."""

    def __init__(
        self, code: str, message: str, *, field: str | None = None, retryable: bool = False
    ) -> None:
        super().__init__(message, field=field)
        # One class stands for all such codes, so the code belongs to the instance here.
        self.__dict__.update(code=code, retryable=retryable)


def wrong_version(*, daemon: int, client: int) -> UnsupportedVersion:
    """The error of two ends that speak different versions of the protocol. It says which of them is
    older, since that one has to be upgraded.
    """
    older = (
        "the client is older: upgrade the program that asks"
        if client < daemon
        else "the daemon is older: upgrade umad, and start the daemon again"
    )
    return UnsupportedVersion(
        f"this daemon speaks version {daemon} of the protocol, the client {client}; {older}",
        field="protocol",
    )


def _classes_by_code() -> dict[str, type[UmadError]]:
    """Every class of `umad.errors` that defines a code of its own."""
    return {
        kind.code: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, UmadError) and "code" in vars(kind)
    } | {InternalError.code: InternalError}


_BY_CODE = _classes_by_code()


def failed_of(error: UmadError) -> Failed:
    """The event that reports `error` to a client."""
    unexpected = error.code == InternalError.code
    return Failed(
        code=error.code,
        message=UNEXPECTED if unexpected else error.message,
        field=error.field,
        retryable=error.retryable,
    )


def error_of(
    code: str, message: str, field: str | None = None, retryable: bool = False
) -> UmadError:
    """The exception for an error message. The class of a known code decides `retryable`."""
    kind = _BY_CODE.get(code)
    if kind is None:
        return ForeignError(code, message, field=field, retryable=retryable)
    return kind(message, field=field)


def error_of_failed(failed: Failed) -> UmadError:
    """The exception for a `Failed` event."""
    return error_of(failed.code, failed.message, failed.field, failed.retryable)
