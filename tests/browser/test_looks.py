"""The page as it is seen, read aloud and used by keyboard: themes, small screens, live figures."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.browsing import WAIT_MS, Script, ask, opened, say
from tests.gateway.gateways import LiveGateway
from tests.gateway.scripted import MODEL, faked_gateway
from umad.client import Client
from umad.testing import FakeModel

ANSWER = (
    "Some **words**\n\n```python\nx = 1\n```\n\n| a | b |\n|---|---|\n| 1 | [c](https://c.org) |"
)
# The least contrast that WCAG 2.2 asks of text (1.4.3). Of parts of a picture it asks two thirds of
# that (1.4.11), so theirs counts one and a half times.
LEAST = 4.5
_CONTRASTS = """() => {
    const channels = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((one) => one / 255).map((one) =>
        one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
        .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = (one) => {
        for (; one; one = one.parentElement) {
            const color = channels(getComputedStyle(one).backgroundColor);
            if ((color[3] ?? 1) === 1) return color;
        }
        return [255, 255, 255];
    };
    const contrast = (a, b) => {
        const [dark, bright] = [light(a), light(b)].sort((x, y) => x - y);
        return (bright + 0.05) / (dark + 0.05);
    };
    const found = [];
    for (const one of document.querySelectorAll("body *")) {
        const text = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!text || !one.checkVisibility({visibilityProperty: true})) continue;
        const ratio = contrast(channels(getComputedStyle(one).color), ground(one));
        found.push([one.textContent.trim().slice(0, 40), ratio]);
    }
    for (const bar of document.querySelectorAll(".meter i")) {
        found.push([`bar ${bar.parentElement.id}`, 1.5 * contrast(
            channels(getComputedStyle(bar).backgroundColor),
            channels(getComputedStyle(bar.parentElement).backgroundColor))]);
    }
    return found;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_all_text_can_be_read_in_both_themes(
    browser: Browser, gateway: LiveGateway, theme: Any, width: int, height: int
) -> None:
    size: Any = {"width": width, "height": height}
    with opened(
        browser, gateway.address, takes_refusals=True, color_scheme=theme, viewport=size
    ) as page:
        script = Script(page)
        script.says(ANSWER)
        ask(page, "Show me")
        script.next(status=400, json={"error": {"message": "no"}})
        say(page, "And this?")
        page.wait_for_selector("#problem:visible")
        if width < 500:
            page.click("#show-card")
        faint = {text: ratio for text, ratio in page.evaluate(_CONTRASTS) if ratio < LEAST}

    assert faint == {}


@pytest.mark.parametrize("width", [320, 390, 768, 1100])
def test_no_screen_scrolls_sideways_and_everything_can_be_reached(
    browser: Browser, gateway: LiveGateway, width: int
) -> None:
    size: Any = {"width": width, "height": 700}
    with opened(browser, gateway.address, viewport=size) as page:
        Script(page).says(f"{ANSWER}\n\n{'long' * 100}\n\n```\n{'wide ' * 100}\n```")
        ask(page, "Show me " + "w" * 300)

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.querySelector('#turns').scrollWidth") <= width
        page.click("#show-settings")
        expect(page.locator("#keep-settings")).to_be_in_viewport()
        page.keyboard.press("Escape")
        page.click("#show-card")
        expect(page.locator("#guard")).to_be_in_viewport()
        page.keyboard.press("Escape")
        expect(page.locator("#guard")).to_be_hidden()
        expect(page.locator("#show-card")).to_be_focused()
        if page.locator("#show-chats").is_visible():
            page.click("#show-chats")
        page.click("#clear")
        expect(page.locator("#prompt")).to_be_focused()


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    Script(page).says(ANSWER)
    ask(page, "Hello there")
    page.click("#show-settings")

    unnamed = page.locator("button, select, input, textarea, [role=meter], dialog").evaluate_all(
        """all => all.filter((one) => !(one.getAttribute("aria-label") || one.labels?.length ||
            one.textContent.trim() || one.getAttribute("aria-labelledby")))
            .map((one) => one.outerHTML)"""
    )
    assert unnamed == []


def test_a_chat_needs_no_mouse(page: Page) -> None:
    script = Script(page)
    script.says("1")
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type("One")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("more")
    page.keyboard.press("Enter")
    expect(page.locator(".turn[data-done]")).to_have_count(1)
    assert script.sent[0]["messages"][0]["content"] == "One\nmore"

    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.press("Shift+Tab")  # back to the last button of the conversation
    expect(page.get_by_label("Ask for this answer again")).to_be_focused()
    script.says("2")
    page.keyboard.press("Enter")
    expect(page.locator(".turn[data-done] .said")).to_have_text("2")


def test_an_answer_is_read_aloud_in_whole_paragraphs(page: Page) -> None:
    Script(page).says("First ", "part.\n", "\nSec", "ond part.")
    ask(page, "Hello")

    region = page.locator("[aria-live=polite]#spoken")
    expect(region.locator("p")).to_have_text(["First part.", "Second part."])


# -- the scorecard ---------------------------------------------------------------------------------


@pytest.fixture
def figures(page: Page) -> Iterator[dict[str, Any]]:
    """The scorecard as it comes, with whatever a test puts into it instead."""
    instead: dict[str, Any] = {}

    def answer(route: Route) -> None:
        card = route.fetch().json()
        tokens = instead.get("tokens", 0)
        card["lanes"] = {"interactive": {"tokens": tokens}}
        route.fulfill(json=card | instead)

    page.route("**/metrics", answer)
    yield instead
    page.unroute_all(behavior="wait")


@pytest.mark.parametrize(
    ("tokens", "late_pct", "alone_pct", "state", "words"),
    [
        pytest.param(0, None, None, "idle", "nobody reads", id="nobody"),
        pytest.param(400, 1.5, 0.0, "held", "holds: 1.5 % of 400", id="few of many"),
        pytest.param(10, 10.0, 0.0, "held", "holds: 1 slow of 10", id="one slow token of ten"),
        pytest.param(1, 100.0, 0.0, "held", "holds: 1 slow of 1 ", id="the only token"),
        pytest.param(40, 10.0, 0.0, "held", "holds: 4 slow of 40", id="too few to say"),
        pytest.param(200, 12.0, 0.0, "over", "does not hold: 12 %", id="many of many"),
        pytest.param(200, 12.0, 11.0, "machine", "200 late: the machine is busy", id="others"),
    ],
)
def test_the_guard_is_judged_by_a_share_and_not_by_one_slow_token(
    page: Page,
    figures: dict[str, Any],
    tokens: int,
    late_pct: float | None,
    alone_pct: float | None,
    state: str,
    words: str,
) -> None:
    figures |= {
        "tokens": tokens,
        "over_cap_pct": late_pct,
        "over_cap_alone_pct": alone_pct,
        "guard_held": False,  # one token beyond three times its own pace makes it so
    }

    expect(page.locator("#guard")).to_contain_text(words, timeout=WAIT_MS)
    expect(page.locator("#guard")).to_have_attribute("data-state", state)


def test_the_bars_show_shares_in_pictures_and_in_words(page: Page, figures: dict[str, Any]) -> None:
    figures |= {
        "kv_cells_used": 250,
        "kv_cells_retained": 500,
        "kv_cells_total": 1000,
        "bmt_gbps": 30.0,
        "bmt_budget_gbps": 60.0,
    }

    expect(page.locator("#kv")).to_have_text("250 of 1000 cells, 500 kept", timeout=WAIT_MS)
    expect(page.locator("#budget")).to_have_text("30.0 of 60 GB/s")
    for bar, share in (("#kvbar", 0.75), ("#budgetbar", 0.5)):
        frame = page.locator(bar).bounding_box()
        parts = [part.bounding_box() for part in page.locator(f"{bar} i").all()]
        assert frame is not None
        filled = sum(part["width"] for part in parts if part) / frame["width"]
        assert filled == pytest.approx(share, abs=0.02)
        value = float(page.locator(bar).get_attribute("aria-valuenow") or 0)
        assert value == pytest.approx(share)
    assert page.locator(".bar .why").count() == page.locator(".bar").count() == 3


def test_a_users_key_has_its_requests_and_no_figures(browser: Browser, tmp_path: Path) -> None:
    model = FakeModel(script=("hello there", "hello there"))
    with (
        faked_gateway(tmp_path, model) as (address, _),
        opened(browser, address, takes_refusals=True) as page,
    ):
        page.route("**/metrics", lambda route: route.fulfill(status=403, json={}))
        page.reload()
        expect(page.locator("#figures")).to_be_hidden()
        expect(page.locator("#running")).to_be_visible()
        expect(page.locator("#note")).to_have_text("")


# -- models ----------------------------------------------------------------------------------------


def test_the_picker_tells_what_state_a_model_is_in(browser: Browser, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    model = FakeModel(script=("hello", "hello"), wait_for=str(ready))
    with (
        faked_gateway(tmp_path, model) as (address, socket),
        opened(browser, address, takes_refusals=True) as page,
        Client(socket) as client,
    ):
        state = page.locator("#state")
        expect(state).to_have_text("loading")
        expect(page.locator("#model option")).to_have_text([f"{MODEL} (loading)"])
        expect(page.locator("#load")).to_be_hidden()
        ready.touch()
        expect(state).to_have_text("loaded", timeout=WAIT_MS)
        expect(page.locator("#model option")).to_have_text([MODEL])
        ask(page, "Hello")

        client.unload(MODEL)
        expect(state).to_have_text("not loaded", timeout=WAIT_MS)
        expect(page.locator("#model option")).to_have_text([f"{MODEL} (not loaded)"])
        page.click("#load")
        expect(state).to_have_text("loaded", timeout=WAIT_MS)


def test_a_key_is_asked_for_and_known_to_this_tab_only(
    browser: Browser, gateway: LiveGateway
) -> None:
    def answer(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer sk-right-one":
            route.continue_(headers={"accept": "application/json"})
        else:
            route.fulfill(status=401, json={"error": {"message": "a key, please"}})

    with opened(browser, gateway.address, takes_refusals=True) as page:
        page.route(re.compile("/(v1/models|status|metrics)$"), answer)
        expect(page.locator("#key")).to_be_visible(timeout=WAIT_MS)
        page.fill("#key", "sk-right-one")
        page.press("#key", "Enter")

        expect(page.locator("#note")).to_have_text("", timeout=WAIT_MS)
        assert "sk-right-one" not in json.dumps(page.evaluate("({...localStorage})"))
        assert page.evaluate("Object.values({...sessionStorage})").count("sk-right-one") == 1
