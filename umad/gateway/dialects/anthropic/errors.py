"""Shapes an error for Anthropic's clients: `{"type": "error", "error": {"type", "message"}}`.

https://docs.anthropic.com/en/api/errors
"""

from umad.errors import PromptTooLong
from umad.gateway import sse
from umad.gateway.bodies.errors import AnthropicError
from umad.gateway.dialect import Dialect
from umad.gateway.errors import Problem

# Anthropic's own list; a status that is missing gets the kind of its class.
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def _error(problem: Problem) -> dict[str, object]:
    """An error body. The field at fault stands before the message, where Anthropic puts it."""
    kind = _TYPES.get(problem.status)
    if kind is None:
        kind = "invalid_request_error" if problem.status < 500 else "api_error"
    message, field = problem.message, problem.field
    if problem.code == PromptTooLong.code:
        # Agents look for these words, and make the conversation shorter.
        message = f"prompt is too long: {message}"
    elif field is not None and not message.startswith(field):
        message = f"{field}: {message}"
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": problem.request_id,
    }


ANTHROPIC = Dialect(
    name="anthropic",
    error=_error,
    problem=AnthropicError,
    stream_error=lambda problem: sse.event("error", _error(problem)),
    ping=sse.event("ping", {"type": "ping"}),
)
