"""Images and sounds as people really send them, over a real gateway, socket and engine.

Odd ones are answered, broken ones are refused by their place, and nothing else is disturbed.
"""

import asyncio
import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.engine.projector_files import write_gemma3
from tests.gateway.gateways import LiveGateway
from tests.gateway.media.seeing import base64_of, gateway_with, posted
from tests.gateway.remote.servers import LISTED, UNLISTED, FileServer, Page, file_server
from tests.media.pictures import pixels, png_claiming, recorded, saved, tone
from umad import nano

CHAT = "/v1/chat/completions"
URL = "messages.0.content.1.image_url.url"
WHOLE = saved(pixels(96, 64), "PNG")
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
MP4 = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(64)


def exif_rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(pixels(96, 64)), "JPEG", exif=exif)


def animated() -> bytes:
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "green", "blue")]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


SOUND_IMAGES: dict[str, bytes] = {
    "an animation": animated(),
    "the colours of printing": saved(Image.new("CMYK", (48, 32), (0, 255, 255, 0)), "JPEG"),
    "a photo that was turned": exif_rotated(),
    "a single pixel": saved(pixels(1, 1), "PNG"),
    "a PNG that is called a JPEG": WHOLE,
}
BROKEN_IMAGES: dict[str, tuple[bytes, str]] = {
    "a PNG that ends early": (WHOLE[: len(WHOLE) // 2], "cut off or broken"),
    "a PNG that ends in its head": (WHOLE[:20], "head is cut off or broken"),
    "a bomb": (png_claiming(60_000, 60_000), "3,600,000,000 pixels"),
    "an SVG drawing": (SVG, "an SVG drawing"),
    "a PDF that is called a JPEG": (b"%PDF-1.7\n%" + bytes(64), "a PDF file"),
    "a video": (MP4, "an MP4 or QuickTime video"),
    "nothing": (b"", "empty"),
}


def image(data: bytes) -> dict[str, Any]:
    url = f"data:image/jpeg;base64,{base64_of(data)}"
    return {"type": "image_url", "image_url": {"url": url}}


def sound(data: bytes) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64_of(data), "format": "wav"}}


def about(part: dict[str, Any], **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "What is it?"}, part]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 2, **more}


@pytest.mark.parametrize("what", SOUND_IMAGES)
def test_an_odd_image_is_answered(seeing: LiveGateway, what: str) -> None:
    answer = posted(seeing, CHAT, about(image(SOUND_IMAGES[what])))

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("what", BROKEN_IMAGES)
def test_a_broken_image_is_refused_by_its_place_and_said_what_it_is(
    seeing: LiveGateway, what: str
) -> None:
    data, says = BROKEN_IMAGES[what]

    answer = posted(seeing, CHAT, about(image(data)))

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == URL
    assert says in answer.json()["error"]["message"]


def test_a_stream_goes_on_beside_broken_files(seeing: LiveGateway) -> None:
    body = {"prompt": "Once upon a time", "temperature": 0, "max_tokens": 400, "ignore_eos": True}

    async def run() -> tuple[Any, Any, list[int]]:
        async with seeing.async_http() as http:
            # The first reads its prompt, and others find it read: another sum of the same numbers.
            await http.post("/v1/completions", json=body)
            alone = (await http.post("/v1/completions", json=body)).json()
            beside = asyncio.create_task(http.post("/v1/completions", json=body))
            refused = [
                (await http.post(CHAT, json=about(image(data)))).status_code
                for data, _ in BROKEN_IMAGES.values()
            ]
            return alone, (await beside).json(), refused

    alone, beside, refused = asyncio.run(run())

    # Cells in another order have other last bits, so a long text may end otherwise.
    assert beside["usage"] == alone["usage"]
    assert beside["usage"]["completion_tokens"] == 400
    assert beside["choices"][0]["text"][:100] == alone["choices"][0]["text"][:100]
    assert refused == [400] * len(BROKEN_IMAGES)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://example.com/a.png", "no ftp: addresses"),
        ("file:///etc/passwd", "opens no files"),
        ("https://example.com/a.png", "media.remote_urls"),
        ("/etc/passwd", "a data: URL"),
        ("data:image/png;base64,*", "not base64"),
    ],
)
def test_an_address_that_is_not_fetched_says_why(seeing: LiveGateway, url: str, says: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}

    answer = posted(seeing, CHAT, about(part))

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == URL
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "data",
    [
        recorded(np.zeros(16_000), 16_000),
        recorded(tone(8_000, 1.0), 8_000),
        recorded(np.stack([tone(44_100, 1.0)] * 2, -1), 44_100, "FLAC"),
    ],
    ids=["silence", "8 kHz", "stereo"],
)
def test_an_odd_sound_is_heard(hearing: LiveGateway, data: bytes) -> None:
    answer = posted(hearing, CHAT, about(sound(data)))

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (MP4, "an MP4 or QuickTime video"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "head is cut off or broken"),
        (WHOLE, "a PNG picture; sounds are read from"),
        (recorded(np.zeros(0), 16_000), "no samples"),
    ],
)
def test_what_is_no_sound_is_refused_by_its_place(
    hearing: LiveGateway, data: bytes, says: str
) -> None:
    answer = posted(hearing, CHAT, about(sound(data)))

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "messages.0.content.1.input_audio.data"
    assert says in answer.json()["error"]["message"]


ASKED: dict[str, tuple[str, Callable[[str], Any]]] = {
    "chat completions": (CHAT, lambda data: about(image(WHOLE))),
    "responses": (
        "/v1/responses",
        lambda data: {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}
                    ],
                }
            ]
        },
    ),
    "messages": (
        "/v1/messages",
        lambda data: {
            "max_tokens": 2,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image",
                            "source": {
                                "type": "base64",
                                "media_type": "image/png",
                                "data": data,
                            },
                        }
                    ],
                }
            ],
        },
    ),
    "Ollama": (
        "/api/chat",
        lambda data: {"messages": [{"role": "user", "content": "See", "images": [data]}]},
    ),
}


@pytest.mark.parametrize("dialect", ASKED)
def test_a_model_that_hears_and_does_not_see_says_so(hearing: LiveGateway, dialect: str) -> None:
    path, body = ASKED[dialect]

    answer = posted(hearing, path, {"model": "nano", **body(base64_of(WHOLE))})

    assert answer.status_code == 400, answer.text
    assert "this model reads no images, and is asked about an image" in answer.text
    assert "no model that was loaded here can be asked about an image" in answer.text


@pytest.fixture(scope="module")
def fetching() -> Iterator[LiveGateway]:
    arguments = ("--media-remote-urls", "--media-remote-networks", f"{LISTED}/32")
    with gateway_with(write_gemma3, *arguments, "--media-pixels", "10000") as gateway:
        yield gateway


@pytest.fixture
def pictures() -> Iterator[FileServer]:
    with file_server() as server:
        server.pages["/a.png"] = Page(WHOLE)
        yield server


def at(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_an_image_at_an_allowed_address_is_seen(
    fetching: LiveGateway, pictures: FileServer
) -> None:
    def n_prompt(part: dict[str, Any]) -> int:
        answer = posted(fetching, CHAT, about(part))
        assert answer.status_code == 200, answer.text
        return int(answer.json()["usage"]["prompt_tokens"])

    assert n_prompt(at(pictures.url("/a.png"))) == n_prompt(image(WHOLE))
    assert len(pictures.asked) == 1


def test_a_redirect_to_loopback_is_refused(fetching: LiveGateway, pictures: FileServer) -> None:
    with file_server(UNLISTED) as inner:
        inner.pages["/"] = Page(WHOLE)
        pictures.pages["/"] = Page(status=302, headers={"Location": inner.url("/")})

        answer = posted(fetching, CHAT, about(at(pictures.url("/"))))

        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == URL
        assert "in this machine or in its network" in answer.json()["error"]["message"]
        assert inner.asked == []


def test_this_gateway_cannot_be_made_to_ask_itself(fetching: LiveGateway) -> None:
    answer = posted(fetching, CHAT, about(at(f"{fetching.address}/v1/models")))

    assert answer.status_code == 400
    assert "in this machine or in its network" in answer.json()["error"]["message"]


def test_the_limit_of_pixels_is_the_one_that_was_set(fetching: LiveGateway) -> None:
    small, large = saved(pixels(100, 100), "PNG"), saved(pixels(101, 100), "PNG")

    assert posted(fetching, CHAT, about(image(small))).status_code == 200
    refused = posted(fetching, CHAT, about(image(large)))
    assert refused.status_code == 400
    assert "at most 10,000 are read" in refused.json()["error"]["message"]


def test_images_of_a_request_have_a_number(fetching: LiveGateway) -> None:
    content = [image(saved(pixels(2, 2), "PNG")) for _ in range(129)]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 2}

    answer = posted(fetching, CHAT, body)

    assert answer.status_code == 400, answer.text
    assert "128" in answer.json()["error"]["message"]


def test_a_request_that_no_frame_holds_is_refused_and_others_go_on(fetching: LiveGateway) -> None:
    enormous = io.BytesIO(bytes(18 * 2**20)).getvalue()

    async def run() -> tuple[httpx.Response, httpx.Response]:
        async with fetching.async_http() as http:
            body = {"prompt": "Once", "max_tokens": 200, "ignore_eos": True}
            beside = asyncio.create_task(http.post("/v1/completions", json=body))
            refused = await http.post(CHAT, json=about(image(enormous)))
            return refused, await beside

    refused, beside = asyncio.run(run())

    assert refused.status_code == 400, refused.text
    assert "the daemon takes" in refused.json()["error"]["message"]
    assert beside.status_code == 200


def test_a_model_beside_the_projector_of_another_reads_text_and_one_that_sees_is_named(
    seeing: LiveGateway, tmp_path: Path
) -> None:
    model = tmp_path / "other.gguf"
    shutil.copy(nano.path(), model)
    write_gemma3(tmp_path / "mmproj-other.gguf", width=320)

    assert posted(seeing, "/models/load", {"model": str(model)}).status_code == 200
    refused = posted(seeing, CHAT, about(image(WHOLE), model="other"))

    assert refused.status_code == 400, refused.text
    assert "nano here can be asked about an image" in refused.json()["error"]["message"]
    assert refused.json()["error"]["param"] == URL
    assert posted(seeing, CHAT, about(image(WHOLE), model="nano")).status_code == 200
    assert "is the projector of another model" in seeing.daemon.log


def test_a_projector_of_another_model_that_is_named_is_refused_in_one_line(tmp_path: Path) -> None:
    wrong = write_gemma3(tmp_path / "wrong.gguf", width=320)
    (tmp_path / "none.yaml").touch()
    served = subprocess.run(
        [
            *(sys.executable, "-m", "umad", "serve", "nano", "--mmproj", str(wrong)),
            *("--socket", str(tmp_path / "u.sock"), "--config", str(tmp_path / "none.yaml")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert served.returncode != 0
    lines = [one for one in served.stderr.splitlines() if "projector of another model" in one]
    assert "its rows have 320 numbers, and this model's have 256" in lines[-1]
