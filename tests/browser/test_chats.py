"""Several chats, kept in the browser and nowhere else; what can be done to a chat and its turns."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browsing import CHAT, WAIT_MS, Script, ask, opened, roles, say, stream
from tests.gateway.gateways import LiveGateway


@pytest.fixture
def script(page: Page) -> Script:
    return Script(page)


@pytest.fixture
def two(page: Page, script: Script) -> Page:
    """A chat of two exchanges."""
    for question, answer in (("One", "1"), ("Two", "2")):
        script.says(answer)
        ask(page, question)
    return page


def contents(sent: dict[str, Any]) -> list[str]:
    return [one["content"] for one in sent["messages"]]


# -- turns -----------------------------------------------------------------------------------------


def test_an_edited_message_replaces_its_answer_and_all_after_it(two: Page, script: Script) -> None:
    two.locator(".turn[data-role=user]").last.hover()
    two.get_by_label("Edit this message").last.click()
    expect(two.locator("#prompt")).to_have_value("Two")
    script.says("zwei")
    say(two, "Zwei")

    expect(two.locator(".turn .said")).to_have_text(["One", "1", "Zwei", "zwei"])
    assert contents(script.sent[-1]) == ["One", "1", "Zwei"]
    expect(two.locator("#editing")).to_be_hidden()


def test_an_edit_can_be_left_and_changes_nothing(two: Page, script: Script) -> None:
    two.locator(".turn[data-role=user]").first.hover()
    two.get_by_label("Edit this message").first.click()
    two.press("#prompt", "Escape")

    expect(two.locator("#prompt")).to_have_value("")
    expect(two.locator("#editing")).to_be_hidden()
    script.says("3")
    ask(two, "Three")
    assert contents(script.sent[-1]) == ["One", "1", "Two", "2", "Three"]


def test_the_last_answer_can_be_asked_for_again(two: Page, script: Script) -> None:
    script.says("zwei")
    two.get_by_label("Ask for this answer again").last.click()

    expect(two.locator(".turn .said")).to_have_text(["One", "1", "Two", "zwei"])
    assert contents(script.sent[-1]) == ["One", "1", "Two"]


@pytest.mark.parametrize(("is_wanted", "left"), [(True, ["One", "eins"]), (False, None)])
def test_an_earlier_answer_is_asked_for_again_only_after_a_question(
    two: Page, script: Script, is_wanted: bool, left: list[str] | None
) -> None:
    two.once("dialog", lambda dialog: dialog.accept() if is_wanted else dialog.dismiss())
    script.says("eins")
    two.locator(".turn[data-role=assistant]").first.hover()
    two.get_by_label("Ask for this answer again").first.click()

    expect(two.locator(".turn .said")).to_have_text(left or ["One", "1", "Two", "2"])


def test_an_empty_answer_does_not_break_the_order_of_turns(page: Page, script: Script) -> None:
    script.says()
    ask(page, "Hello")
    script.says("Yes")
    ask(page, "And?")

    sent = [one["role"] for one in script.sent[-1]["messages"]]
    assert sent == ["user", "assistant", "user"]


def test_a_thought_is_folded_away_and_not_sent_again(page: Page, script: Script) -> None:
    body = stream(["The sky ", "is blue."], thought="Is it?\nIt is.")
    script.next(body=body, content_type="text/event-stream")
    ask(page, "What colour?")
    thought = page.locator(".turn[data-done] .thought")
    expect(thought.locator("div")).to_be_hidden()
    thought.locator("summary").click()
    expect(thought.locator("div")).to_have_text("Is it? It is.")

    expect(page.locator(".turn[data-done] .said")).to_have_text("The sky is blue.")
    script.says("Yes")
    ask(page, "Really?")
    assert contents(script.sent[-1]) == ["What colour?", "The sky is blue.", "Really?"]
    page.reload()
    expect(page.locator(".thought")).to_have_count(1)


# -- settings --------------------------------------------------------------------------------------


def test_the_system_prompt_and_the_parameters_are_sent(page: Page, script: Script) -> None:
    page.click("#show-settings")
    page.fill("#system", "You are terse.")
    page.fill("#temperature", "0.2")
    page.fill("#max_tokens", "12")
    page.fill("#seed", "0")
    page.click("#keep-settings")
    script.says("ok")
    ask(page, "Hello")

    sent = script.sent[0]
    assert sent["messages"][0] == {"role": "system", "content": "You are terse."}
    assert (sent["temperature"], sent["max_tokens"], sent["seed"]) == (0.2, 12, 0)
    assert "top_p" not in sent


def test_settings_work_on_the_model(page: Page) -> None:
    """On nano: the same seed draws the same answer, and the limit of tokens cuts it."""
    page.click("#show-settings")
    page.fill("#seed", "7")
    page.fill("#max_tokens", "9")
    page.click("#keep-settings")
    # The first reads its prompt, the others find it read: another sum of the same numbers.
    ask(page, "Hello there")
    page.click("#clear")
    ask(page, "Hello there")
    first = page.locator(".turn[data-done] .said").inner_text()
    facts = page.locator(".turn[data-done] .facts")
    page.click("#clear")
    ask(page, "Hello there")

    assert page.locator(".turn[data-done] .said").inner_text() == first
    expect(facts).to_contain_text(re.compile(r"\d tokens?"))


@pytest.mark.parametrize(
    ("field", "value"), [("top_p", "1.5"), ("temperature", "-1"), ("max_tokens", "0")]
)
def test_a_parameter_out_of_range_is_not_taken(page: Page, field: str, value: str) -> None:
    page.click("#show-settings")
    page.fill(f"#{field}", value)
    page.click("#keep-settings")

    expect(page.locator("#settings")).to_be_visible()
    assert page.locator(f"#{field}").evaluate("one => !one.validity.valid")


def test_cancelled_settings_change_nothing(page: Page, script: Script) -> None:
    page.click("#show-settings")
    page.fill("#system", "You are terse.")
    page.keyboard.press("Escape")
    script.says("ok")
    ask(page, "Hello")

    assert contents(script.sent[0]) == ["Hello"]


# -- chats -----------------------------------------------------------------------------------------


def titles(page: Page) -> list[str]:
    return list(page.locator("#shelf .open").all_inner_texts())


def test_chats_are_still_there_when_the_page_is_opened_again(two: Page, script: Script) -> None:
    two.click("#clear")
    script.says("Grüezi")
    ask(two, "Another chat")
    two.fill("#prompt", "half typed")
    two.reload()

    assert titles(two) == ["Another chat", "One"]
    expect(two.locator("#prompt")).to_have_value("half typed")
    two.get_by_role("button", name="One", exact=True).click()
    expect(two.locator(".turn .said")).to_have_text(["One", "1", "Two", "2"])
    expect(two.locator("#prompt")).to_have_value("")


def test_a_chat_can_be_renamed_and_deleted(two: Page) -> None:
    two.hover("#shelf li")
    two.get_by_label("Rename One").click()
    two.fill("#shelf input", "Numbers")
    two.press("#shelf input", "Enter")
    assert titles(two) == ["Numbers"]

    two.once("dialog", lambda dialog: dialog.accept())
    two.hover("#shelf li")
    two.get_by_label("Delete Numbers").click()
    assert titles(two) == []
    assert roles(two) == []
    two.reload()
    assert titles(two) == []


def test_an_answer_goes_on_in_its_chat_while_another_is_shown(page: Page) -> None:
    held: list[Any] = []
    page.route(CHAT, lambda route: held.append(route))
    with page.expect_request(CHAT):
        say(page, "Slow one")
    page.wait_for_selector("#stop:visible")
    page.click("#clear")
    expect(page.locator("#send")).to_be_visible()
    body = 'data: {"choices": [{"delta": {"content": "there"}}]}\n\ndata: [DONE]\n\n'
    held[0].fulfill(body=body, content_type="text/event-stream")
    assert roles(page) == []
    page.get_by_role("button", name="Slow one", exact=True).click()

    expect(page.locator(".turn .said")).to_have_text(["Slow one", "there"])


_FILL = """([number, chars]) => {
    for (let at = 0; at < number; at += 1) {
        const turn = (role) => ({role, content: "x".repeat(chars)});
        localStorage.setItem(`umad.chat.old${at}`, JSON.stringify({v: 1, id: `old${at}`,
            title: `Old ${at}`, turns: [turn("user"), turn("assistant")], usedMs: at + 1}));
    }
}"""


@pytest.mark.parametrize(("number", "chars"), [(50, 10), (40, 24_000)])
def test_the_chats_used_longest_ago_leave_first(
    page: Page, script: Script, number: int, chars: int
) -> None:
    page.evaluate(_FILL, [number, chars])
    page.reload()
    script.says("ok " * 40_000 if chars > 10 else "ok")
    ask(page, "The newest")

    left = titles(page)
    assert left[0] == "The newest"
    assert f"Old {number - 1}" in left
    assert "Old 0" not in left
    kept = page.evaluate("Object.values(localStorage).join('').length")
    assert len(left) <= 50
    assert kept <= 2_000_000


@pytest.mark.parametrize(
    "record",
    [
        pytest.param("{", id="half a record"),
        pytest.param("null", id="nothing"),
        pytest.param('{"v": 99, "id": "x", "turns": []}', id="another version's"),
        pytest.param(
            json.dumps({"v": 1, "id": "x", "turns": [{"role": "user", "content": "a"}]}),
            id="a turn without its answer",
        ),
        pytest.param(
            json.dumps({"v": 1, "id": "x", "turns": [{"role": "user"}, {"role": "x"}]}),
            id="turns without text",
        ),
        pytest.param(
            json.dumps(
                {"v": 1, "id": "x", "turns": [], "parameters": None, "title": {}, "draft": 1}
            ),
            id="fields of other types",
        ),
    ],
)
def test_a_record_that_is_no_chat_does_no_harm(page: Page, script: Script, record: str) -> None:
    page.evaluate("record => localStorage.setItem('umad.chat.x', record)", record)
    page.reload()

    script.says("Hello")
    ask(page, "Hello there")
    assert titles(page)[0] == "Hello there"


def test_a_browser_that_keeps_nothing_still_has_a_chat(
    browser: Browser, gateway: LiveGateway
) -> None:
    with opened(browser, gateway.address) as page:
        page.add_init_script(
            "Storage.prototype.setItem = () => { throw new DOMException('full'); }"
        )
        page.reload()
        script = Script(page)
        script.says("Hello")
        ask(page, "Hello there")
        expect(page.locator("#problem")).to_contain_text("no room to keep this chat")
        script.says("Then this")
        ask(page, "And then?")
        assert roles(page) == ["user", "assistant"] * 2


def test_two_tabs_do_not_write_over_each_others_chats(
    browser: Browser, gateway: LiveGateway
) -> None:
    with opened(browser, gateway.address) as first:
        second = first.context.new_page()
        second.goto(gateway.address)
        for number, page in enumerate((first, second)):
            Script(page).says("ok")
            ask(page, f"Tab {number}")
        expect(first.locator("#shelf .open")).to_have_text(["Tab 1", "Tab 0"])
        second.reload()
        expect(second.locator("#shelf .open")).to_have_text(["Tab 1", "Tab 0"])


def test_a_chat_can_be_saved_as_a_file(two: Page, tmp_path: Path) -> None:
    with two.expect_download() as started:
        two.click("#export")
    started.value.save_as(tmp_path / "chat.md")

    text = (tmp_path / "chat.md").read_text()
    assert text.startswith("# One\n\n## You\n\nOne\n\n## nano\n\n1\n")


def test_the_page_has_its_own_name_among_the_apps(page: Page, gateway: LiveGateway) -> None:
    page.click("#show-settings")
    page.fill("#max_tokens", "9")
    page.click("#keep-settings")
    ask(page, "Hello there")

    assert set(gateway.daemon.metrics()["apps"]) == {"page"}
    expect(page.locator("#apps tbody")).to_contain_text("page", timeout=WAIT_MS)
