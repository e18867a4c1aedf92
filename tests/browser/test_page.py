"""The page at / in a real browser: `make browser-test`.

A Chromium of the machine's is used where there is one, else the one Playwright installs.
"""

import os
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.live import wait_until

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
WAIT_MS = 30_000.0
# From within the page: nano has said all it has to say before a click from here arrives.
_STOP_AT_THE_FIRST_WORD = """() => new MutationObserver((_, observer) => {
    const said = document.querySelector(".turn[data-role=assistant] .said");
    const stop = document.querySelector("#stop");
    if (!said?.textContent || stop.offsetParent === null) return;
    observer.disconnect();
    window.stopped = true;
    stop.click();
}).observe(document.body, {childList: true, subtree: true, characterData: true})"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("page")) as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    own = next((found for name in _NAMES if (found := shutil.which(name))), None)
    # Chromium's sandbox does not work for root, in containers above all.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=own, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, gateway: LiveGateway) -> Iterator[Page]:
    """The page, loaded; whatever it complains of fails the test."""
    opened = browser.new_page()
    opened.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console", lambda said: complaints.append(said.text) if said.type == "error" else None
    )
    opened.goto(gateway.address)
    expect(opened.locator("#model option")).to_have_text(["nano"], timeout=WAIT_MS)
    yield opened
    opened.close()
    assert complaints == []


def test_an_answer_streams_into_the_chat_and_goes_on_as_a_conversation(page: Page) -> None:
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
    page.evaluate(_STOP_AT_THE_FIRST_WORD)
    page.fill("#prompt", "Tell me a long story")
    page.press("#prompt", "Enter")

    expect(page.locator(".turn[data-done]")).to_have_count(1, timeout=WAIT_MS)
    expect(page.locator("#running tbody tr")).to_have_count(0, timeout=WAIT_MS)
    wait_until(lambda: gateway.daemon.cells_used() == 0, what="the pool's being empty")
    assert page.evaluate("window.stopped")


def test_the_scorecard_lives(page: Page) -> None:
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
