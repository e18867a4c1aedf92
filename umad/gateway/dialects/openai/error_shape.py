"""Shapes an error as OpenAI does, for all of its endpoints and the native ones.

https://platform.openai.com/docs/guides/error-codes
"""

from typing import Any

from umad.gateway import sse
from umad.gateway.bodies.errors import OpenAIError
from umad.gateway.dialect import Dialect
from umad.gateway.errors import Problem

# The type of an error, which the packages read besides the status.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
# umad's codes under the names clients know.
_CODES = {
    "unauthorized": "invalid_api_key",
    "unknown_model": "model_not_found",
    "prompt_too_long": "context_length_exceeded",
    "rate_limited": "rate_limit_exceeded",
    "limit_exceeded": "rate_limit_exceeded",
}


def _error(problem: Problem) -> dict[str, Any]:
    kind = _TYPES.get(problem.status)
    if kind is None:
        kind = "invalid_request_error" if problem.status < 500 else "server_error"
    return {
        "error": {
            "message": problem.message,
            "type": kind,
            "param": problem.field,
            "code": _CODES.get(problem.code, problem.code),
            "request_id": problem.request_id,
        }
    }


def _stream_error(problem: Problem) -> bytes:
    return sse.data(_error(problem)) + sse.DONE


def _responses_error(problem: Problem) -> bytes:
    """The stream of a response ends with an event of its own kind."""
    error = _error(problem)["error"]
    fields = {name: error[name] for name in ("code", "message", "param")}
    return sse.event("error", {"type": "error", "sequence_number": -1, **fields})


OPENAI = Dialect(
    name="openai",
    error=_error,
    problem=OpenAIError,
    stream_error=_stream_error,
    ping=sse.comment("keep-alive"),
)
OPENAI_RESPONSES = Dialect(
    name="openai",
    error=_error,
    problem=OpenAIError,
    stream_error=_responses_error,
    ping=sse.comment("keep-alive"),
)
