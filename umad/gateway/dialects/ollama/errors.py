"""Shapes an error as Ollama does: `{"error": "…"}`. In a stream the error is the last line."""

from umad.gateway import sse
from umad.gateway.bodies.errors import OllamaError
from umad.gateway.dialect import Dialect
from umad.gateway.errors import Problem


def _error(problem: Problem) -> dict[str, object]:
    """An error body. Clients show only `error`; the other fields help to debug."""
    body: dict[str, object] = {"error": problem.message, "code": problem.code}
    if problem.field is not None:
        body["field"] = problem.field
    return {**body, "request_id": problem.request_id}


# Nothing extra may stand between the lines: every one is an object the client reads.
OLLAMA = Dialect(
    name="ollama",
    error=_error,
    problem=OllamaError,
    stream_error=lambda problem: sse.line(_error(problem)),
    ping=None,
)
