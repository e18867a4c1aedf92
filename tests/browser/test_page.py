"""The page at / in a real browser: `make browser-test`.

What the other files here say is about the page, too: refused turns, Markdown, chats, looks.
"""

import re

from playwright.sync_api import Page, expect

from tests.browser.browsing import WAIT_MS
from tests.gateway.gateways import LiveGateway
from tests.live import wait_until

# From within the page: nano has said all it has to say before a click from here arrives.
_STOP_AT_THE_FIRST_WORD = """() => new MutationObserver((_, observer) => {
    const said = document.querySelector(".turn[data-role=assistant] .said");
    const stop = document.querySelector("#stop");
    if (!said?.textContent || stop.offsetParent === null) return;
    observer.disconnect();
    window.stopped = true;
    stop.click();
}).observe(document.body, {childList: true, subtree: true, characterData: true})"""


def always_the_same(page: Page, *, most_tokens: str = "40") -> None:
    """An answer that is drawn at random may be empty. most_tokens: "" for as many as may be."""
    page.click("#show-settings")
    page.fill("#temperature", "0")
    page.fill("#max_tokens", most_tokens)
    page.click("#keep-settings")


def test_an_answer_streams_into_the_chat_and_goes_on_as_a_conversation(page: Page) -> None:
    always_the_same(page)
    page.fill("#prompt", "Hello there")
    page.press("#prompt", "Enter")
    expect(page.locator(".turn[data-done]")).to_have_count(1, timeout=WAIT_MS)
    page.fill("#prompt", "And then?")
    page.click("#send")
    expect(page.locator(".turn[data-done]")).to_have_count(2, timeout=WAIT_MS)

    roles = [turn.get_attribute("data-role") for turn in page.locator(".turn").all()]
    answers = page.locator(".turn[data-done] .said").all_inner_texts()
    assert roles == ["user", "assistant", "user", "assistant"]
    assert len(answers) == 2
    assert all(answers)


def test_an_answer_can_be_stopped_and_lets_go_of_its_cells(
    page: Page, gateway: LiveGateway
) -> None:
    always_the_same(page, most_tokens="")
    page.evaluate(_STOP_AT_THE_FIRST_WORD)
    page.fill("#prompt", "Tell me a long story")
    page.press("#prompt", "Enter")

    expect(page.locator(".turn[data-done]")).to_have_count(1, timeout=WAIT_MS)
    expect(page.locator("#running tbody tr")).to_have_count(0, timeout=WAIT_MS)
    wait_until(lambda: gateway.daemon.cells_used() == 0, what="the pool's being empty")
    assert page.evaluate("window.stopped")


def test_the_scorecard_lives(page: Page) -> None:
    always_the_same(page)
    page.fill("#prompt", "Hello there")
    page.press("#prompt", "Enter")

    expect(page.locator("#speed")).to_contain_text(re.compile(r"[1-9]"), timeout=WAIT_MS)
    expect(page.locator("#kv")).to_contain_text("cells", timeout=WAIT_MS)
    expect(page.locator("#apps tbody tr")).not_to_have_count(0, timeout=WAIT_MS)


def test_markup_in_a_message_stays_text(page: Page) -> None:
    page.fill("#prompt", "<img src=x onerror=document.title='gone'>")
    page.press("#prompt", "Enter")
    expect(page.locator(".turn[data-done]")).to_have_count(1, timeout=WAIT_MS)

    assert page.locator("#turns img").count() == 0
    assert page.title() == "umad"
