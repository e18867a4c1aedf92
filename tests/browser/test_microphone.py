"""What is said into the microphone: written by a speech model, or heard by one that hears.

Chromium plays a file as its microphone. It is a tone, so what arrives can be told from noise.
"""

import base64
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.browsing import Script, ask, chromium, opened
from tests.engine.projector_files import write_ultravox
from tests.gateway.gateways import LiveGateway, live_gateway
from umad.testing.whisper_file import write_whisper

TONE_HZ = 440
TRANSCRIPTIONS = "**/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One that hears a tone."""
    said = tmp_path_factory.mktemp("said") / "said.wav"
    at_s = np.arange(48_000 * 2) / 48_000
    soundfile.write(said, 0.5 * np.sin(2 * np.pi * TONE_HZ * at_s), 48_000, subtype="PCM_16")
    # Without the second, a Chromium without windows has no microphone.
    with chromium(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={said}",
    ) as one:
        yield one


@pytest.fixture(scope="module")
def writing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """With a speech model beside nano."""
    folder = tmp_path_factory.mktemp("writing")
    write_whisper(folder / "ggml-tiny.en.bin")
    with live_gateway(folder, "nano", str(folder / "ggml-tiny.en.bin")) as one:
        yield one


@pytest.fixture(scope="module")
def hearing() -> Iterator[LiveGateway]:
    """Nano hears by itself, with random ears."""
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    try:
        projector = write_ultravox(folder / "mmproj-nano.gguf")
        with live_gateway(folder, "nano", "--mmproj", str(projector)) as one:
            yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def page(browser: Browser, writing: LiveGateway) -> Iterator[Page]:
    with opened(browser, writing.address, permissions=["microphone"]) as one:
        yield one


def speak(page: Page, seconds: int = 1) -> None:
    """Record for at least so long, by the page's own clock."""
    page.get_by_role("button", name="Speak").click()
    expect(page.locator("#speak.is-on")).to_have_attribute("data-seconds", f"0:0{seconds}")
    page.get_by_role("button", name="Done").press("Enter")


def tone_of(recording: bytes) -> float:
    """The loudest frequency."""
    samples, rate = soundfile.read(io.BytesIO(recording))
    assert (rate, samples.ndim) == (16_000, 1)
    assert len(samples) > rate / 2
    loud = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(loud) * rate / len(samples))


def file_of(route: Route) -> bytes:
    """The file of a form."""
    form = route.request.post_data_buffer or b""
    return form[form.index(b"RIFF") : form.rindex(b"\r\n--")]


def test_what_is_said_is_written_into_the_box_at_the_cursor(page: Page) -> None:
    """By whisper.cpp, whose random weights make something of the tone."""
    page.fill("#prompt", "before after")
    page.evaluate("document.getElementById('prompt').setSelectionRange(6, 6)")

    with page.expect_response(TRANSCRIPTIONS) as answered:
        speak(page)

    written = answered.value.json()["text"].strip()
    assert written
    expect(page.locator("#prompt")).to_have_value(f"before {written} after")
    expect(page.locator("#prompt")).to_be_focused()
    expect(page.locator("#file-note")).to_have_text("What was said was written into the box.")
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()


def test_what_is_sent_is_what_was_said(page: Page) -> None:
    sent: list[bytes] = []

    def answer(route: Route) -> None:
        sent.append(file_of(route))
        route.fulfill(json={"text": " A tone. "})

    page.route(TRANSCRIPTIONS, answer)
    speak(page)

    expect(page.locator("#prompt")).to_have_value("A tone.")
    assert abs(tone_of(sent[0]) - TONE_HZ) < 5


def test_a_model_that_hears_gets_the_clip_itself(browser: Browser, hearing: LiveGateway) -> None:
    with opened(browser, hearing.address, permissions=["microphone"]) as page:
        sent: list[Any] = []
        page.on(
            "request",
            lambda one: (
                sent.append(json.loads(one.post_data or ""))
                if one.url.endswith("completions")
                else None
            ),
        )
        speak(page)
        expect(page.locator("#files li")).to_contain_text("recording")
        ask(page, "What is said?")

        sound, words = sent[0]["messages"][0]["content"]
        assert words == {"type": "text", "text": "What is said?"}
        assert sound["input_audio"]["format"] == "wav"
        assert abs(tone_of(base64.b64decode(sound["input_audio"]["data"])) - TONE_HZ) < 5
        expect(page.locator(".turn[data-role=user]")).to_contain_text("recording")


def test_a_recording_can_be_dropped_and_so_can_its_being_written(page: Page) -> None:
    asked: list[Route] = []
    page.route(TRANSCRIPTIONS, lambda route: asked.append(route))
    page.get_by_role("button", name="Speak").click()
    expect(page.locator("#speak.is-on")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Speak")).to_have_attribute("aria-pressed", "false")
    assert asked == []

    with page.expect_request(TRANSCRIPTIONS) as request:
        speak(page)
    expect(page.locator("#file-note")).to_have_text("What was said is being read.")
    with page.expect_event("requestfailed", lambda one: one == request.value):
        page.keyboard.press("Escape")

    expect(page.get_by_role("button", name="Speak")).to_be_enabled()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#prompt")).to_have_value("")


def test_a_browser_that_gives_no_microphone_is_explained(
    browser: Browser, writing: LiveGateway
) -> None:
    with opened(browser, writing.address) as page:
        page.add_init_script(
            "navigator.mediaDevices.getUserMedia = async () => {"
            " throw new DOMException('Permission denied', 'NotAllowedError'); };"
        )
        page.reload()
        page.get_by_role("button", name="Speak").click()
        expect(page.get_by_role("alert")).to_contain_text(
            "does not let this page use the microphone"
        )


def test_a_page_that_is_not_safe_is_told_why_it_has_no_microphone(
    browser: Browser, writing: LiveGateway
) -> None:
    with opened(browser, writing.address) as page:
        page.add_init_script(
            "Object.defineProperty(navigator, 'mediaDevices', {value: undefined});"
        )
        page.reload()
        page.get_by_role("button", name="Speak").click()
        expect(page.get_by_role("alert")).to_contain_text("only to pages over TLS")


def test_a_speech_model_is_in_the_list_and_cannot_be_chatted_with(page: Page) -> None:
    row = page.locator("#model option", has_text="whisper-tiny.en")

    expect(row).to_have_text("whisper-tiny.en (turns speech into text)")
    assert row.evaluate("one => one.disabled")
    script = Script(page)
    script.says("Hello")
    ask(page, "Hello there")
    assert script.sent[0]["model"] == "nano"
