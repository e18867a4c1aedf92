"""A turn may name an earlier answer's items instead of sending them again (`item_reference`).

Vercel's AI SDK does so by default. An answer that is left out of a history changes the next one.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.scripted_service import TOOL, Scripted, post
from umad.config import HttpSettings

PATH = "/v1/responses"
TOOLS = [{"type": "function", **TOOL}]
FIRST = {"role": "user", "content": "Weather in Paris?"}


@pytest.fixture
def settings(tmp_path: Path) -> HttpSettings:
    return HttpSettings(store=str(tmp_path / "responses.sqlite3"))


def output_of(settings: HttpSettings, **more: Any) -> list[dict[str, Any]]:
    """The items of an answer with thinking, text and a call."""
    body = {"input": [FIRST], "tools": TOOLS, **more}
    output: list[dict[str, Any]] = post(Scripted(), PATH, body, settings).json()["output"]
    assert [one["type"] for one in output] == ["reasoning", "message", "function_call"]
    return output


def asked_with(settings: HttpSettings, items: list[dict[str, Any]], call_id: str) -> Any:
    """What the model is asked in the next turn."""
    service = Scripted()
    result = {"type": "function_call_output", "call_id": call_id, "output": "sunny"}
    answer = post(service, PATH, {"input": [FIRST, *items, result], "tools": TOOLS}, settings)
    assert answer.status_code == 200, answer.text
    return service.asked[-1].messages


@pytest.mark.parametrize("more", [{"type": "item_reference"}, {}, {"type": None}])
def test_items_that_are_named_are_asked_as_if_they_were_sent(
    settings: HttpSettings, more: dict[str, Any]
) -> None:
    output = output_of(settings)
    named = [{**more, "id": one["id"]} for one in output]
    call_id = output[-1]["call_id"]

    asked = asked_with(settings, named, call_id)

    assert asked == asked_with(settings, output, call_id)
    assert (asked[1].content.strip(), asked[1].reasoning) == (
        "Let me look.",
        "It is about weather.",
    )
    assert asked[1].tool_calls[0].name == "get_weather"


def test_the_turn_after_next_still_knows_them(settings: HttpSettings) -> None:
    named = [{"type": "item_reference", "id": one["id"]} for one in output_of(settings)]
    second = post(Scripted(), PATH, {"input": [FIRST, *named, FIRST]}, settings).json()
    service = Scripted()

    post(service, PATH, {"input": "Go on.", "previous_response_id": second["id"]}, settings)

    assert [one.role for one in service.asked[-1].messages or ()][:3] == [
        "user",
        "assistant",
        "user",
    ]


@pytest.mark.parametrize(
    "id_",
    ["msg_1", "", "msg_" + "0" * 32 + "_0", "x" * 500],
    ids=["another server's", "empty", "not kept", "long"],
)
def test_an_item_that_is_not_kept_is_named(settings: HttpSettings, id_: str) -> None:
    body = {"input": [FIRST, {"type": "item_reference", "id": id_}]}

    refusal = post(Scripted(), PATH, body, settings)

    assert refusal.status_code == 404
    error = refusal.json()["error"]
    assert error["param"] == "input.1.id"
    assert "send the item itself" in error["message"]


def test_items_of_an_answer_that_was_not_to_be_kept_are_not_known(settings: HttpSettings) -> None:
    (item, *_) = output_of(settings, store=False)

    refusal = post(
        Scripted(), PATH, {"input": [FIRST, {"type": "item_reference", "id": item["id"]}]}, settings
    )

    assert refusal.status_code == 404


def test_every_item_has_an_id_of_its_own(settings: HttpSettings) -> None:
    ids = [one["id"] for one in output_of(settings) + output_of(settings)]

    assert len(set(ids)) == len(ids)
