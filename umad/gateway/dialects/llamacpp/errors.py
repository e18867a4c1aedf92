"""Shapes an error as llama-server does: `{"error": {"code": status, "message", "type"}}`.

Source: `format_error_response` in llama.cpp's tools/server.
"""

from umad.gateway import sse
from umad.gateway.bodies.errors import LlamaCppError
from umad.gateway.dialect import Dialect
from umad.gateway.errors import Problem

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    501: "not_supported_error",
    503: "unavailable_error",
}
_TOO_LONG = "prompt_too_long"


def _error(problem: Problem) -> dict[str, object]:
    kind = _TYPES.get(problem.status)
    if kind is None:
        kind = "invalid_request_error" if problem.status < 500 else "server_error"
    if problem.code == _TOO_LONG:
        kind = "exceed_context_size_error"
    return {
        "error": {
            "code": problem.status,
            "message": problem.message,
            "type": kind,
            "param": problem.field,
            "request_id": problem.request_id,
        }
    }


LLAMACPP = Dialect(
    name="llamacpp",
    error=_error,
    problem=LlamaCppError,
    stream_error=lambda problem: sse.data(_error(problem)),
    ping=sse.comment("keep-alive"),
)
