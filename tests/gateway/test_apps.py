"""Much used apps get what they read: their requests, replayed one by one.

The fixtures are in apps/, one file an app, each with its reference.
"""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from typing_extensions import override

from tests.gateway.answering_service import MODEL, Answering
from tests.gateway.app_fixtures import (
    FOLDER,
    App,
    Step,
    faults,
    filled,
    kept_of,
    missed,
    read_app,
)
from tests.gateway.gateways import LiveGateway
from tests.gateway.in_process import answers
from tests.gateway.scripted_service import WORDS
from umad.client.rows import ModelRow

APPS = [read_app(path) for path in sorted(FOLDER.glob("*.yaml"))]
NAMES = (
    *("Cline", "Continue", "Home Assistant", "LangChain", "LlamaIndex", "llama.vim", "minuet"),
    *("n8n", "Open WebUI"),
    *("Raycast (its Ollama extension)", "Vercel AI SDK", "Zed"),
)


class Capable(Answering):
    """Has thinking, tools and marks for insertion, and says some of each to everybody."""

    def __init__(self) -> None:
        super().__init__()
        self._words = WORDS

    @override
    async def models(self, *, stored: bool = False) -> list[ModelRow]:
        facts = {
            "chat_family": "hermes",
            "takes_tools": True,
            "thinking": ("<think>", "</think>"),
            "fim_tokens": {"prefix": 1, "suffix": 2, "middle": 3},
        }
        return [ModelRow.of({"name": MODEL, "state": "ready", "ctx": 4096, **facts})]


def played(step: Step, http: httpx.Client) -> tuple[httpx.Response, list[str]]:
    """The answer to a step, and what the app misses."""
    if step.server == "nano":
        answer = http.request(step.method, step.path, headers=dict(step.headers), json=step.body)
        return answer, faults(step.expect, answer)
    service = Capable()
    answer = answers(step.method, step.path, headers=step.headers, body=step.body, service=service)
    found = faults(step.expect, answer)
    if step.asked and not found:
        found = [f"asked {one}" for one in missed(step.asked, service.asked[-1])]
    return answer, found


@pytest.mark.parametrize("app", APPS, ids=[app.app.split(" (")[0] for app in APPS])
def test_an_app_gets_what_it_reads(app: App, gateway: LiveGateway) -> None:
    kept: dict[str, Any] = {"model": MODEL}
    missing: dict[str, list[str]] = {}
    with gateway.http() as http:
        for step in app.steps:
            filled_in = replace(
                step, body=filled(step.body, kept), expect=filled(step.expect, kept)
            )
            answer, found = played(filled_in, http)
            if found:
                missing[step.name] = found
            else:
                kept |= kept_of(step.expect, answer)

    assert missing == {}


def test_every_app_of_the_list_is_there_with_its_reference() -> None:
    assert sorted(app.app for app in APPS) == sorted(NAMES)
    assert [app.app for app in APPS if "github.com/" not in app.reference] == []


@pytest.mark.parametrize(
    ("fault", "expect"),
    [
        ("a field of another value", {"has": {"model": "other"}}),
        ("a field that is not there", {"has": {"done/at": "$text"}}),
        ("a text that is no JSON", {"has": {"said": "$json"}}),
        ("a time that is none", {"has": {"said": "$time"}}),
        ("one of a list", {"has": {"list/*": "$text"}}),
        ("a list with nothing in it", {"has": {"empty/*": "$text"}}),
        ("a truth that is a number", {"has": {"flag": 1}}),
        ("the status", {"status": 404}),
        ("the kind of content", {"type": "text/event-stream"}),
        ("an event", {"stream": "lines", "some": [{"said": "other"}]}),
        ("an event's type", {"stream": "lines", "kinds": ["response.created"]}),
        ("the last event", {"stream": "lines", "last": {"flag": False}}),
        ("the joined text", {"stream": "lines", "joined": {"said": "$begins:{"}}),
    ],
)
def test_a_fixture_sees_what_an_app_would_miss(fault: str, expect: dict[str, Any]) -> None:
    value = {"model": "nano", "said": "words", "list": ["a", 1], "empty": [], "flag": True}

    assert faults(expect, httpx.Response(200, json=value)) != [], fault
