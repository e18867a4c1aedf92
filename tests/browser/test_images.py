"""Images in the page's chats: pasted, dropped, picked, looked at, removed, sent, and kept."""

import base64
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from playwright.sync_api import Browser, Page, expect

from tests.browser.browsing import Script, ask, opened, roles, say
from tests.e2e.test_media import ROWS, photo
from tests.engine.projector_files import write_gemma3
from tests.gateway.gateways import LiveGateway, live_gateway

# A person's deed as the browser tells it to a page: Playwright cannot paste or drop a file.
_GIVE = """([how, files]) => {
    const given = new DataTransfer();
    for (const [name, type, data] of files) {
        const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
        given.items.add(new File([bytes], name, {type}));
    }
    const more = {bubbles: true, cancelable: true};
    const event = how === "paste"
        ? new ClipboardEvent("paste", {clipboardData: given, ...more})
        : new DragEvent(how, {dataTransfer: given, ...more});
    document.getElementById("prompt").dispatchEvent(event);
    return event.defaultPrevented;
}"""
PREVIEWS = "#files li"


@pytest.fixture(scope="module")
def gateway() -> Iterator[LiveGateway]:
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    try:
        projector = write_gemma3(folder / "mmproj-nano.gguf")
        with live_gateway(folder, "nano", "--mmproj", str(projector)) as one:
            yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def script(page: Page) -> Script:
    return Script(page)


def give(page: Page, how: str, *files: tuple[str, str, bytes]) -> bool:
    """Paste, drop or drag files. Returns whether the page has taken it on itself."""
    packed = [[name, kind, base64.b64encode(data).decode()] for name, kind, data in files]
    return bool(page.evaluate(_GIVE, [how, packed]))


def png(seed: int = 1) -> tuple[str, str, bytes]:
    return (f"photo{seed}.png", "image/png", photo(seed))


def added(page: Page, number: int = 1) -> None:
    """Until so many files are in the box, and seen there."""
    expect(page.locator(PREVIEWS)).to_have_count(number)
    expect(page.locator(f"{PREVIEWS} canvas[data-drawn]")).to_have_count(number)


def images_of(message: dict[str, Any]) -> list[bytes]:
    parts = message["content"] if isinstance(message["content"], list) else []
    urls = [one["image_url"]["url"] for one in parts if one["type"] == "image_url"]
    return [base64.b64decode(url.partition(",")[2]) for url in urls]


# -- added and sent --------------------------------------------------------------------------------


def test_a_pasted_image_is_seen_sent_and_answered(page: Page) -> None:
    """By nano itself, with random eyes: the prompt has the rows of an image."""
    asked: list[dict[str, Any]] = []
    page.on(
        "request",
        lambda one: asked.append(one.post_data_json) if one.url.endswith("completions") else None,
    )
    assert give(page, "paste", png())
    added(page)
    expect(page.get_by_role("img", name="photo1.png")).to_be_visible()

    ask(page, "What is it?")

    (message,) = asked[0]["messages"]
    assert images_of(message) == [photo(1)]
    assert message["content"][-1] == {"type": "text", "text": "What is it?"}
    expect(page.locator(PREVIEWS)).to_have_count(0)
    expect(page.locator(".turn[data-role=user] canvas[data-drawn]")).to_have_count(1)
    assert roles(page) == ["user", "assistant"]


def test_the_page_is_the_same_to_the_model_as_any_client(page: Page, gateway: LiveGateway) -> None:
    """The daemon counts the image's rows, so it has come through whole."""
    give(page, "paste", png(2))
    added(page)
    with page.expect_response("**/v1/chat/completions") as answered:
        ask(page, "What is it?")
    url = f"data:image/png;base64,{base64.b64encode(photo(2)).decode()}"
    parts = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "What is it?"},
    ]
    body = {"model": "nano", "messages": [{"role": "user", "content": parts}], "max_tokens": 1}
    with gateway.http() as http:
        usage = http.post("/v1/chat/completions", json=body).json()["usage"]

    assert f'"prompt_tokens":{usage["prompt_tokens"]}' in answered.value.text().replace(" ", "")
    assert usage["prompt_tokens"] > ROWS


def test_a_dropped_image_and_a_picked_one_are_added_too(
    page: Page, script: Script, tmp_path: Path
) -> None:
    assert give(page, "dragover", png())
    expect(page.locator("#box.is-over")).to_have_count(1)
    assert give(page, "drop", png(), png(2))
    added(page, 2)
    (tmp_path / "c.png").write_bytes(photo(3))
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add an image").click()
    chooser.value.set_files(tmp_path / "c.png")
    added(page, 3)
    expect(page.locator("#box.is-over")).to_have_count(0)

    script.says("Noise")
    ask(page, "What are they?")

    assert images_of(script.sent[0]["messages"][0]) == [photo(1), photo(2), photo(3)]


def test_an_image_is_sent_without_a_word(page: Page, script: Script) -> None:
    give(page, "paste", png())
    added(page)
    script.says("Noise")
    page.focus("#prompt")
    page.keyboard.press("Enter")
    expect(page.locator(".turn[data-done]")).to_have_count(1)

    assert [one["type"] for one in script.sent[0]["messages"][0]["content"]] == ["image_url"]
    expect(page.locator("#shelf .open")).to_have_text(["photo1.png"])


def test_a_removed_image_is_not_sent(page: Page, script: Script) -> None:
    give(page, "paste", png(), png(2))
    added(page, 2)
    page.get_by_role("button", name="Remove photo1.png").press("Enter")
    added(page, 1)
    expect(page.locator("#prompt")).to_be_focused()
    expect(page.locator("#file-note")).to_have_text("photo1.png was removed.")

    script.says("Noise")
    ask(page, "What is it?")

    assert images_of(script.sent[0]["messages"][0]) == [photo(2)]


def test_a_large_image_is_made_smaller_and_an_odd_one_is_sent_as_a_usual_one(
    page: Page, script: Script
) -> None:
    large = photo(1, size=2500)
    assert len(large) > 1.5 * 2**20
    give(page, "paste", ("large.png", "image/png", large))
    give(page, "paste", ("odd.bmp", "image/bmp", photo(2, kind="BMP")))
    added(page, 2)

    script.says("Noise")
    ask(page, "What are they?")

    first, second = (
        Pillow.open(io.BytesIO(one)) for one in images_of(script.sent[0]["messages"][0])
    )
    assert (first.format, first.size) == ("JPEG", (2048, 2048))
    assert (second.format, second.size) == ("JPEG", (80, 80))


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (("notes.pdf", "application/pdf", b"%PDF-1.7"), "notes.pdf is not an image"),
        (("noise.wav", "audio/wav", b"RIFF"), "noise.wav is not an image"),
        (("torn.png", "image/png", photo(1)[:60]), "torn.png is not an image that this browser"),
        (("a.svg", "image/svg+xml", b"<svg/>"), "a.svg is not an image that this browser"),
    ],
    ids=["a PDF", "a sound", "a torn image", "an SVG"],
)
@pytest.mark.parametrize("how", ["paste", "drop"])
def test_what_is_no_image_is_refused_in_words(
    page: Page, how: str, file: tuple[str, str, bytes], said: str
) -> None:
    assert give(page, how, file)

    expect(page.get_by_role("alert")).to_contain_text(said)
    expect(page.locator(PREVIEWS)).to_have_count(0)


def test_pasted_text_is_text_though_a_picture_lies_beside_it(page: Page) -> None:
    picture = base64.b64encode(photo(1)).decode()
    is_taken = page.evaluate(
        """(data) => {
            const given = new DataTransfer();
            given.setData("text/plain", "a table");
            given.items.add(new File([atob(data)], "table.png", {type: "image/png"}));
            const event = new ClipboardEvent("paste", {clipboardData: given, cancelable: true});
            document.getElementById("prompt").dispatchEvent(event);
            return event.defaultPrevented;
        }""",
        picture,
    )

    assert not is_taken
    expect(page.locator(PREVIEWS)).to_have_count(0)


def test_a_broken_image_that_the_model_cannot_read_comes_back_into_the_box(
    page: Page, script: Script
) -> None:
    give(page, "paste", png())
    added(page)
    script.next(status=400, json={"error": {"message": "messages.0: broken"}})
    page.unroute_all(behavior="wait")
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(
            body='data: {"error": {"message": "messages.0: broken"}}\n\n',
            content_type="text/event-stream",
        ),
    )
    say(page, "What is it?")

    expect(page.get_by_role("alert")).to_contain_text("broken")
    added(page)
    expect(page.locator("#prompt")).to_have_value("What is it?")
    assert roles(page) == []


def test_a_model_without_eyes_is_not_asked_and_the_page_says_why(
    browser: Browser, tmp_path: Path
) -> None:
    with live_gateway(tmp_path) as blind, opened(browser, blind.address) as page:
        script = Script(page)
        give(page, "paste", png())
        expect(page.get_by_role("alert")).to_contain_text("nano takes no images.")
        expect(page.locator(PREVIEWS)).to_have_count(0)

        page.get_by_role("button", name="Hide this error").click()
        page.get_by_role("button", name="Add an image", disabled=True).press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("nano takes no images.")
        expect(page.locator("#speak")).to_be_hidden()
        assert script.sent == []


# -- kept ------------------------------------------------------------------------------------------


def test_images_are_there_when_the_page_is_opened_again_and_are_sent_with_every_turn(
    page: Page, script: Script
) -> None:
    give(page, "paste", png())
    added(page)
    script.says("Noise")
    ask(page, "What is it?")
    give(page, "paste", png(2))
    added(page)
    page.reload()
    added(page)
    expect(page.locator(".turn[data-role=user] canvas[data-drawn]")).to_have_count(1)

    script.says("Another")
    ask(page, "And this?")

    before, _, now = script.sent[-1]["messages"]
    assert (images_of(before), images_of(now)) == ([photo(1)], [photo(2)])


def test_an_edited_message_has_its_image_and_a_retry_sends_it_again(
    page: Page, script: Script
) -> None:
    give(page, "paste", png())
    added(page)
    script.says("Noise")
    ask(page, "What is it?")
    script.says("Noise again")
    page.get_by_label("Ask for this answer again").click()
    expect(page.locator(".turn .said").last).to_have_text("Noise again")
    page.locator(".turn[data-role=user]").hover()
    page.get_by_label("Edit this message").click()
    added(page)
    # Left as it was, it still has its image.
    page.get_by_role("button", name="Remove photo1.png").click()
    page.press("#prompt", "Escape")
    page.locator(".turn[data-role=user]").hover()
    page.get_by_label("Edit this message").click()
    added(page)
    script.says("Yes")
    say(page, "Is it noise?")
    expect(page.locator(".turn .said").last).to_have_text("Yes")

    assert [images_of(one["messages"][-1]) for one in script.sent] == [[photo(1)]] * 3


_KEPT = """() => new Promise((done) => {
    indexedDB.open("umad", 1).onsuccess = ({target: {result: db}}) => {
        db.transaction("files").objectStore("files").count().onsuccess = ({target}) => {
            db.close();
            done(target.result);
        };
    };
})"""


def test_a_deleted_chat_leaves_no_image_behind(page: Page, script: Script) -> None:
    give(page, "paste", png())
    added(page)
    script.says("Noise")
    ask(page, "What is it?")
    assert page.evaluate(_KEPT) == 1
    page.once("dialog", lambda dialog: dialog.accept())
    page.hover("#shelf li")
    page.get_by_label("Delete What is it?").click()
    expect(page.locator("#shelf li")).to_have_count(0)

    # What the page does in its store is done in order.
    assert page.evaluate(_KEPT) == 0


def test_a_browser_that_keeps_no_files_still_sends_them(page: Page, script: Script) -> None:
    page.add_init_script("Object.defineProperty(window, 'indexedDB', {value: undefined});")
    page.reload()
    script = Script(page)
    give(page, "paste", png())
    added(page)
    script.says("Noise")
    ask(page, "What is it?")

    assert images_of(script.sent[0]["messages"][0]) == [photo(1)]


def test_an_image_that_is_not_kept_any_more_is_named_in_its_place(
    page: Page, script: Script
) -> None:
    give(page, "paste", png())
    added(page)
    script.says("Noise")
    ask(page, "What is it?")
    page.evaluate("indexedDB.deleteDatabase('umad')")
    page.evaluate("files.remove([...filesOf(chat)])")
    page.reload()
    expect(page.locator(".turn[data-role=user]")).to_contain_text("photo1.png (not kept any more)")

    script.says("Yes")
    ask(page, "Sure?")

    part = script.sent[-1]["messages"][0]["content"][0]
    assert part == {
        "type": "text",
        "text": "(Here was the image photo1.png; it is not kept any more.)",
    }
