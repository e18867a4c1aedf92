"""A turn that is refused is not kept: its text comes back into the box, and the chat goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.browsing import CHAT, WAIT_MS, Script, ask, opened, roles, say, stream
from tests.gateway.gateways import LiveGateway
from tests.gateway.scripted import MODEL, faked_gateway
from umad.client import Client
from umad.testing import FakeModel

TYPED = "What is wrong\nwith this?"
LATE = {"error": {"message": "nano was unloaded", "type": "server_error", "code": "unknown_model"}}


@pytest.fixture
def page(browser: Browser, gateway: LiveGateway) -> Iterator[Page]:
    with opened(browser, gateway.address, takes_refusals=True) as one:
        yield one


def refused(status: int, message: str) -> dict[str, Any]:
    return {"status": status, "json": {"error": {"message": message}}}


def streamed(body: str) -> dict[str, Any]:
    return {"body": body, "content_type": "text/event-stream"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(refused(400, "the prompt is too long"), "too long", id="a prompt too long"),
        pytest.param(refused(404, "'nix' is not loaded"), "not loaded", id="a model that left"),
        pytest.param(refused(429, "too many requests"), "too many", id="a quota that is used up"),
        pytest.param(refused(503, "the daemon is gone"), "is gone", id="a daemon that is gone"),
        pytest.param(
            {"status": 502, "body": "<h1>Bad Gateway</h1>"}, "502", id="a proxy's own error"
        ),
        pytest.param({}, "does not answer", id="no answer at all"),
        pytest.param(
            streamed(stream([], end=f"data: {json.dumps(LATE)}\n\ndata: [DONE]\n\n")),
            "was unloaded",
            id="an error before the first word",
        ),
        pytest.param(
            streamed(stream(["Half an ans"], end=f"data: {json.dumps(LATE)}\n\n")),
            "was unloaded",
            id="an error late in the answer",
        ),
        pytest.param(
            streamed(stream(["Half an ans"], end="")), "before it was whole", id="a cut stream"
        ),
        pytest.param(
            streamed('data: {"choices": [{"delta"\n\n'), "before the answer", id="half a line"
        ),
    ],
)
def test_the_text_comes_back_and_the_next_request_knows_nothing_of_it(
    page: Page, answer: dict[str, Any], error: str
) -> None:
    script = Script(page)
    script.says("Good ", "morning.")
    ask(page, "Hello")
    script.next(**answer)
    say(page, TYPED.split("\n")[0])
    page.wait_for_selector("#problem:visible")

    expect(page.locator("#problem")).to_contain_text(error)
    expect(page.locator("#prompt")).to_have_value(TYPED.split("\n")[0])
    expect(page.locator("#prompt")).to_be_focused()
    assert roles(page) == ["user", "assistant"]

    script.says("It is mended.")
    ask(page, "And now?")
    assert script.sent[-1]["messages"] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Good morning."},
        {"role": "user", "content": "And now?"},
    ]
    expect(page.locator("#problem")).to_be_hidden()
    assert roles(page) == ["user", "assistant"] * 2


def test_a_first_turn_that_is_refused_leaves_an_empty_chat(page: Page) -> None:
    script = Script(page)
    script.next(**refused(400, "no"))
    page.fill("#prompt", TYPED)
    page.click("#send")
    page.wait_for_selector("#problem:visible")

    assert roles(page) == []
    expect(page.locator("#prompt")).to_have_value(TYPED)
    script.says("Yes.")
    page.click("#send")
    expect(page.locator(".turn[data-done]")).to_have_count(1)
    assert [one["role"] for one in script.sent[-1]["messages"]] == ["user"]


def test_what_had_come_of_a_failed_answer_can_still_be_read(page: Page) -> None:
    script = Script(page)
    script.next(**streamed(stream(["Half an ", "answer"], end=f"data: {json.dumps(LATE)}\n\n")))
    say(page, "Go on")

    page.locator("#problem summary").click()
    expect(page.locator("#problem .raw")).to_have_text("Half an answer")


def test_text_that_was_typed_meanwhile_is_not_lost(page: Page) -> None:
    held: list[Route] = []
    page.route(CHAT, lambda route: held.append(route))
    with page.expect_request(CHAT):
        say(page, "First")
    page.wait_for_selector("#stop:visible")
    page.fill("#prompt", "Second")
    held[0].fulfill(**refused(400, "no"))
    page.wait_for_selector("#problem:visible")

    expect(page.locator("#prompt")).to_have_value("First\n\nSecond")


def test_an_edit_that_is_refused_leaves_the_chat_as_it_was(page: Page) -> None:
    script = Script(page)
    for question, answer in (("One", "1"), ("Two", "2")):
        script.says(answer)
        ask(page, question)
    page.locator(".turn[data-role=user]").first.hover()
    page.get_by_label("Edit this message").first.click()
    script.next(**refused(400, "no"))
    say(page, "Eins")
    page.wait_for_selector("#problem:visible")

    expect(page.locator(".turn .said")).to_have_text(["One", "1", "Two", "2"])
    expect(page.locator("#prompt")).to_have_value("Eins")
    expect(page.locator("#editing")).to_be_visible()
    script.says("eins")
    say(page, "Eins!")
    expect(page.locator(".turn .said")).to_have_text(["Eins!", "eins"])
    assert [one["content"] for one in script.sent[-1]["messages"]] == ["Eins!"]


def test_an_answer_that_cannot_be_asked_for_again_stays(page: Page) -> None:
    script = Script(page)
    script.says("The old one")
    ask(page, "Hello")
    page.fill("#prompt", "half typed")
    script.next(**refused(503, "the daemon is gone"))
    page.get_by_label("Ask for this answer again").click()
    page.wait_for_selector("#problem:visible")

    expect(page.locator(".turn .said")).to_have_text(["Hello", "The old one"])
    expect(page.locator("#prompt")).to_have_value("half typed")


def test_an_answer_stopped_before_its_first_word_gives_the_text_back(page: Page) -> None:
    page.route(CHAT, lambda route: None)  # it is never answered
    say(page, "Never mind")
    page.press("#prompt", "Escape")

    expect(page.locator("#prompt")).to_have_value("Never mind")
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#send")).to_be_visible()
    assert roles(page) == []


def test_a_page_closed_while_it_asks_has_the_text_when_it_is_opened_again(page: Page) -> None:
    page.route(CHAT, lambda route: None)
    say(page, "Are you there?")
    page.wait_for_selector("#stop:visible")
    page.reload()

    expect(page.locator("#prompt")).to_have_value("Are you there?")
    assert roles(page) == []


def test_a_prompt_longer_than_the_context_is_refused_and_the_chat_goes_on(page: Page) -> None:
    """The gateway's own refusal, on nano."""
    page.fill("#prompt", "word " * 40_000)
    page.click("#send")
    page.wait_for_selector("#problem:visible")

    assert page.input_value("#prompt").startswith("word word")
    Script(page).says("Hello")
    ask(page, "Hello there")
    assert roles(page) == ["user", "assistant"]


def test_a_model_unloaded_in_the_middle_of_its_answer_costs_only_that_turn(
    browser: Browser, tmp_path: Path
) -> None:
    """The gateway's own late error: the status was sent long ago."""
    script = ("word " * 400, "word " * 400)
    model = FakeModel(script=script, pace_ms=25.0)
    with (
        faked_gateway(tmp_path, model) as (address, socket),
        opened(browser, address, takes_refusals=True) as page,
        Client(socket) as client,
    ):
        say(page, "Go on and on")
        expect(page.locator(".turn[data-role=assistant] .said")).to_contain_text("word")
        client.unload(MODEL)
        page.wait_for_selector("#problem:visible", timeout=WAIT_MS)

        expect(page.locator("#problem")).to_contain_text("was unloaded")
        expect(page.locator("#prompt")).to_have_value("Go on and on")
        assert roles(page) == []
