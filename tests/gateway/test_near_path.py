"""A path at which nothing is served: the 404 names the one that was meant."""

import pytest

from umad.gateway.dialects import ENDPOINTS
from umad.gateway.near_path import near_path, served_paths

SERVED = served_paths((one.method, one.path) for one in ENDPOINTS)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        pytest.param("GET //v1/models", "GET /v1/models", id="a slash too many before"),
        pytest.param("POST /v1//chat/completions", "POST /v1/chat/completions", id="in between"),
        pytest.param("POST /v1/chat/completions/", "POST /v1/chat/completions", id="at the end"),
        pytest.param("POST //v1//chat//completions//", "POST /v1/chat/completions", id="all over"),
        pytest.param("POST /chat/completions", "POST /v1/chat/completions", id="without /v1"),
        pytest.param("GET /models/nano", "GET /v1/models/nano", id="one model without /v1"),
        pytest.param("POST /responses", "POST /v1/responses", id="Responses without /v1"),
        pytest.param("POST /messages", "POST /v1/messages", id="Messages without /v1"),
        pytest.param("POST /v1/v1/chat/completions", "POST /v1/chat/completions", id="/v1 twice"),
        pytest.param("POST /v1/v1/messages", "POST /v1/messages", id="Anthropic's with /v1"),
        pytest.param("POST /v1/api/chat", "POST /api/chat", id="Ollama's behind /v1"),
        pytest.param("GET /tags", "GET /api/tags", id="Ollama's without /api"),
        pytest.param("GET /api/tags/", "GET /api/tags", id="Ollama's with a slash"),
        pytest.param("POST /api/v1/chat/completions", "POST /v1/chat/completions", id="OpenRouter"),
        pytest.param("POST /openai/v1/chat/completions", "POST /v1/chat/completions", id="Groq"),
        pytest.param("POST /api/chat/completions", "POST /v1/chat/completions", id="Open WebUI"),
        pytest.param("POST /v2/chat/completions", "POST /v1/chat/completions", id="a newer API"),
        pytest.param(
            "POST /openai/deployments/nano/chat/completions",
            "POST /v1/chat/completions",
            id="Azure",
        ),
        pytest.param("POST /V1/Chat/Completions", "POST /v1/chat/completions", id="capitals"),
        pytest.param("POST /v1/chat/completion", "POST /v1/chat/completions", id="a slip"),
        pytest.param("POST /v1/embedding", "POST /embedding", id="an odd mix"),
        pytest.param("GET /v1/chat/completions/", "POST /v1/chat/completions", id="another method"),
    ],
)
def test_the_path_that_was_meant_is_named(asked: str, meant: str) -> None:
    method, path = asked.split(" ")
    others = [one for one in SERVED if one.path != path]

    assert near_path(method, path, others) == meant


@pytest.mark.parametrize("path", ["/", "//", "/wp-login.php", "/.env", "/a" * 400, "/favicon.ico"])
def test_a_path_like_no_other_is_near_nothing(path: str) -> None:
    assert near_path("GET", path, SERVED) is None
