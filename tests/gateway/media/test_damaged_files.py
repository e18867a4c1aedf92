"""Files damaged at random, at every endpoint that takes files, over a real gateway and engines.

Hypothesis draws the damage, the same in every run. Some damage leaves a file that can be read, so
an answer is 200 or an error of the client's, in its dialect's shape. Bombs and what is no picture
are refused always. Meanwhile another client reads a stream, and afterwards the same processes run.
"""

import base64
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typing_extensions import override

from tests.engine.projector_files import write_gemma3
from tests.gateway.gateways import LiveGateway
from tests.gateway.media.seeing import gateway_with
from tests.media.pictures import pixels, png_claiming, recorded, saved, tone
from umad.testing.whisper_file import write_whisper

# Of each endpoint; some seconds for all of them.
EXAMPLES = 12
BOUND_S = 60
SEE = "What is it?"
STREAM = {"prompt": "Once upon a time", "temperature": 0, "max_tokens": 60, "ignore_eos": True}


def animation() -> bytes:
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "green")]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def bomb_of_zeros() -> bytes:
    """A few kilobytes that become 400 million pixels."""
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG", optimize=False)
    return file.getvalue()


PICTURES = {
    "PNG": saved(pixels(96, 64), "PNG"),
    "JPEG": saved(pixels(96, 64), "JPEG"),
    "GIF": animation(),
    "WEBP": saved(pixels(96, 64), "WEBP"),
}
SOUNDS = {
    "WAV": recorded(tone(8_000, 0.5), 8_000),
    "MP3": recorded(tone(16_000, 0.5), 16_000, "MP3"),
    "FLAC": recorded(tone(16_000, 0.5), 16_000, "FLAC"),
    "OGG": recorded(tone(16_000, 0.5), 16_000, "OGG"),
}
NO_PICTURES = {
    "an SVG drawing": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "a PDF that is called a JPEG": b"%PDF-1.7\n%" + bytes(500),
    "a bomb in its head": png_claiming(60_000, 60_000),
    "a bomb in its data": bomb_of_zeros(),
    "half a PNG": PICTURES["PNG"][: len(PICTURES["PNG"]) // 2],
    "nothing": b"",
}
NO_SOUNDS = {
    "a PDF": b"%PDF-1.7\n%" + bytes(500),
    "a picture": PICTURES["PNG"],
    "a head alone": SOUNDS["WAV"][:20],
    "nothing": b"",
}


@st.composite
def damaged(draw: st.DrawFn, files: dict[str, bytes]) -> bytes:
    """A file that was cut off, with some bits turned, some bytes lost, or some that are not its."""
    data = bytearray(files[draw(st.sampled_from(sorted(files)))])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["cut", "flip", "lose", "add"])):
            case "cut":
                del data[at:]
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "lose":
                del data[at : at + draw(st.integers(1, 64))]
            case "add":
                data[at:at] = draw(st.binary(min_size=1, max_size=64))
            case _:
                pass
    return bytes(data)


# -- the endpoints -----------------------------------------------------------------------------


def url_of(data: bytes) -> str:
    return f"data:image/jpeg;base64,{text_of(data)}"


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def chat(http: httpx.Client, data: bytes) -> httpx.Response:
    content = [
        {"type": "text", "text": SEE},
        {"type": "image_url", "image_url": {"url": url_of(data)}},
    ]
    turns = [{"role": "user", "content": content}]
    return http.post("/v1/chat/completions", json={"messages": turns, "max_tokens": 1})


def responses(http: httpx.Client, data: bytes) -> httpx.Response:
    content = [
        {"type": "input_text", "text": SEE},
        {"type": "input_image", "image_url": url_of(data)},
    ]
    turns = [{"role": "user", "content": content}]
    body = {"model": "nano", "input": turns, "max_output_tokens": 16}
    return http.post("/v1/responses", json=body)


def messages(http: httpx.Client, data: bytes) -> httpx.Response:
    source = {"type": "base64", "media_type": "image/jpeg", "data": text_of(data)}
    content = [{"type": "text", "text": SEE}, {"type": "image", "source": source}]
    turns = [{"role": "user", "content": content}]
    return http.post("/v1/messages", json={"model": "nano", "max_tokens": 1, "messages": turns})


def ollama(http: httpx.Client, data: bytes) -> httpx.Response:
    turns = [{"role": "user", "content": SEE, "images": [text_of(data)]}]
    more = {"stream": False, "options": {"num_predict": 1}}
    return http.post("/api/chat", json={"model": "nano", "messages": turns, **more})


def transcriptions(http: httpx.Client, data: bytes) -> httpx.Response:
    return http.post("/v1/audio/transcriptions", files={"file": ("a.wav", data)})


def openai_words(said: Any) -> str:
    assert {"message", "type", "param", "code"} <= said["error"].keys()
    return str(said["error"]["message"])


def anthropic_words(said: Any) -> str:
    assert said["type"] == "error"
    assert said["error"].keys() == {"type", "message"}
    return str(said["error"]["message"])


def ollama_words(said: Any) -> str:
    assert isinstance(said["error"], str)
    return str(said["error"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    ask: Callable[[httpx.Client, bytes], httpx.Response]
    # What the error of an answer says; fails where it has not its dialect's shape.
    words: Callable[[Any], str]
    files: dict[str, bytes]
    none: dict[str, bytes]


IMAGES: dict[str, Any] = {"files": PICTURES, "none": NO_PICTURES}
ENDPOINTS = {
    "chat": Endpoint(ask=chat, words=openai_words, **IMAGES),
    "responses": Endpoint(ask=responses, words=openai_words, **IMAGES),
    "messages": Endpoint(ask=messages, words=anthropic_words, **IMAGES),
    "ollama": Endpoint(ask=ollama, words=ollama_words, **IMAGES),
    "transcriptions": Endpoint(
        ask=transcriptions, words=openai_words, files=SOUNDS, none=NO_SOUNDS
    ),
}


# -- somebody else -----------------------------------------------------------------------------


class Reader(threading.Thread):
    """Another client, which reads one answer after another."""

    def __init__(self, gateway: LiveGateway) -> None:
        super().__init__(name="reader")
        self._gateway = gateway
        self.is_over = threading.Event()
        self.texts: list[str] = []
        self.failed: list[str] = []

    @override
    def run(self) -> None:
        with self._gateway.http() as http:
            while not (self.is_over.is_set() and self.texts) and not self.failed:
                answer = http.post("/v1/completions", json=STREAM)
                if answer.status_code == 200:
                    self.texts.append(answer.json()["choices"][0]["text"])
                else:
                    self.failed.append(answer.text)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """With Q8_0 weights and cache a stream has the same bits beside any other work."""
    speech = tmp_path_factory.mktemp("speech") / "ggml-tiny.en.bin"
    write_whisper(speech)
    with gateway_with(write_gemma3, str(speech), "--kv-type", "q8") as one:
        with one.http() as http:
            for name, endpoint in ENDPOINTS.items():
                whole = next(iter(endpoint.files.values()))
                assert endpoint.ask(http, whole).status_code == 200, name
        yield one


@pytest.fixture
def undisturbed(gateway: LiveGateway) -> Iterator[None]:
    """Somebody reads the same answer meanwhile, and nothing is started again."""
    with gateway.http() as http:
        alone = http.post("/v1/completions", json=STREAM).json()["choices"][0]["text"]
    before = gateway.pid, {one.pid for one in gateway.daemon.engines()}
    reader = Reader(gateway)
    reader.start()
    try:
        yield
    finally:
        reader.is_over.set()
        reader.join(BOUND_S)
    assert not reader.is_alive()
    assert reader.failed == []
    assert set(reader.texts) == {alone}
    assert (gateway.pid, {one.pid for one in gateway.daemon.engines()}) == before
    assert gateway.daemon.metrics()["restarts"] == 0
    assert "unexpectedly" not in gateway.daemon.log


@pytest.mark.parametrize("name", ENDPOINTS)
def test_what_cannot_be_read_is_refused_in_the_dialects_words(
    gateway: LiveGateway, undisturbed: None, name: str
) -> None:
    endpoint = ENDPOINTS[name]
    with gateway.http() as http:
        for what, data in endpoint.none.items():
            answer = endpoint.ask(http, data)

            assert 400 <= answer.status_code < 500, (what, answer.text)
            assert len(endpoint.words(answer.json())) > 10, what


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_file_damaged_at_random_is_read_or_refused_and_nobody_else_notices(
    gateway: LiveGateway, undisturbed: None, name: str
) -> None:
    endpoint = ENDPOINTS[name]
    statuses: list[int] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=damaged(endpoint.files))
    def ask(data: bytes) -> None:
        answer = endpoint.ask(http, data)
        statuses.append(answer.status_code)
        assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
        if answer.status_code != 200:
            words = endpoint.words(answer.json())
            assert len(words) > 10
            assert "Traceback" not in words

    with gateway.http() as http:
        ask()

    assert max(statuses) >= 400, "or nothing was damaged"
