"""Ollama's /api/generate on a real gateway: suffix, context, raw, system, template."""

from typing import Any

import pytest

from tests.gateway.gateways import LiveGateway


def generated(gateway: LiveGateway, **body: Any) -> dict[str, Any]:
    options = {"num_predict": 4, "temperature": 0, **body.pop("options", {})}
    with gateway.http() as http:
        answer = http.post(
            "/api/generate", json={"model": "nano", "stream": False, "options": options, **body}
        )
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_gap_is_filled_as_infill_fills_it(gateway: LiveGateway) -> None:
    before, after = "def add(a, b):\n    return ", "\n\nprint(add(1, 2))"
    filled = generated(gateway, prompt=before, suffix=after)
    with gateway.http() as http:
        body = {"input_prefix": before, "input_suffix": after, "n_predict": 4, "temperature": 0}
        infilled = http.post("/infill", json=body).json()

    assert filled["response"] == infilled["content"]
    assert filled["prompt_eval_count"] == infilled["tokens_evaluated"]
    assert "context" not in filled


def test_a_gap_at_the_beginning_of_a_file_is_filled(gateway: LiveGateway) -> None:
    assert generated(gateway, prompt="", suffix="\nprint(1)")["done_reason"] in ("length", "stop")


def test_a_conversation_goes_on_from_its_context(gateway: LiveGateway) -> None:
    first = generated(gateway, prompt="My name is Ann.", system="Be brief.")
    second = generated(gateway, prompt="What is my name?", context=first["context"])

    n = len(first["context"])
    assert n == first["prompt_eval_count"] + first["eval_count"]
    assert second["context"][:n] == first["context"]
    assert len(second["context"]) == second["prompt_eval_count"] + second["eval_count"]


@pytest.mark.parametrize("context", [None, []])
def test_no_context_begins_a_conversation(gateway: LiveGateway, context: list[int] | None) -> None:
    plain = generated(gateway, prompt="Hi")

    assert generated(gateway, prompt="Hi", context=context)["context"] == plain["context"]


def test_a_raw_prompt_has_no_context(gateway: LiveGateway) -> None:
    assert "context" not in generated(gateway, prompt="Hi", raw=True)


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "a template of the client's own": ({"template": "{{ .Prompt }}"}, 501, "template"),
    "raw with a system prompt": ({"raw": True, "system": "Be brief."}, 400, "system"),
    "raw with a context": ({"raw": True, "context": [1, 2]}, 400, "context"),
    "a context of another model": ({"context": [10**6]}, 400, "token 1000000"),
    "a context that is no tokens": ({"context": [-1]}, 400, "context"),
    "a picture": ({"images": ["aGk="]}, 400, "text"),
}


@pytest.mark.parametrize("meant", REFUSED)
def test_what_a_prompt_cannot_have_is_refused(gateway: LiveGateway, meant: str) -> None:
    more, status, said = REFUSED[meant]
    with gateway.http() as http:
        answer = http.post("/api/generate", json={"model": "nano", "prompt": "Hi", **more})

    assert answer.status_code == status
    assert said in answer.json()["error"]
