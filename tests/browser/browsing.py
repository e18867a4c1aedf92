"""Chromium before the page at /, and answers that a test writes itself. Not a test."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

WAIT_MS = 30_000.0
# Playwright itself gives up after five seconds.
expect.set_options(timeout=WAIT_MS)
CHAT = "**/v1/chat/completions"
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# The browser's own note of a status, which no page can prevent.
_STATUS_NOTE = "Failed to load resource"


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """A Chromium of the machine's where there is one, else the one that Playwright installs. more:
    arguments of it.
    """
    own = next((found for name in _NAMES if (found := shutil.which(name))), None)
    # Chromium's sandbox does not work for root, in containers above all.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=own, args=[*arguments, *more])
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, address: str, *, takes_refusals: bool = False, **context: Any
) -> Iterator[Page]:
    """The page in a browser of its own. Whatever it complains of fails the test; a refusal's status
    may be noted where the test provokes one."""
    own = browser.new_context(**context)
    page = own.new_page()
    page.set_default_timeout(WAIT_MS)
    complaints: list[str] = []

    def note(text: str) -> None:
        if not (takes_refusals and text.startswith(_STATUS_NOTE)):
            complaints.append(text)

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: note(said.text) if said.type == "error" else None)
    page.goto(address)
    expect(page.locator("#model option")).not_to_have_count(0, timeout=WAIT_MS)
    yield page
    own.close()
    assert complaints == []


def say(page: Page, text: str) -> None:
    """Type a message and send it."""
    page.fill("#prompt", text)
    page.press("#prompt", "Enter")


def ask(page: Page, text: str) -> None:
    """The same, until one more answer is there."""
    before = page.locator(".turn[data-done]").count()
    say(page, text)
    expect(page.locator(".turn[data-done]")).to_have_count(before + 1, timeout=WAIT_MS)


def roles(page: Page) -> list[str | None]:
    """Whose turns are seen, from the first to the last."""
    return [turn.get_attribute("data-role") for turn in page.locator(".turn").all()]


def stream(pieces: Iterable[str], *, thought: str = "", end: str = "data: [DONE]\n\n") -> str:
    """An answer as the gateway streams it."""
    deltas = [{"reasoning_content": thought}] * bool(thought)
    deltas += [{"content": piece} for piece in pieces]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + end


class Script:
    """Answers in the gateway's place while a test wants it, and keeps what the page has sent."""

    def __init__(self, page: Page) -> None:
        self.sent: list[dict[str, Any]] = []
        self._answers: list[dict[str, Any] | None] = []
        page.route(CHAT, self._answer)

    def next(self, **answer: Any) -> None:
        """What the next request gets; without anything, it gets no answer at all."""
        self._answers.append(answer or None)

    def says(self, *pieces: str) -> None:
        """The model answers the next request with these pieces."""
        self.next(body=stream(pieces), content_type="text/event-stream")

    def _answer(self, route: Route) -> None:
        self.sent.append(json.loads(route.request.post_data or "{}"))
        if not self._answers:
            route.continue_()
            return
        answer = self._answers.pop(0)
        if answer is None:
            route.abort()
        else:
            route.fulfill(**answer)
