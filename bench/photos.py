"""Makes photos of twelve megapixels as files, and asks umad and llama-server about them.

Each file is another one, so that no cache can help: they differ in a comment, and decoding each
takes as long. A connection here sends what `bench.exchange` sends, with a photo before the prompt.
Not: figures. Owner: the process that measures.
"""

import base64
import io
import itertools
import json
from collections.abc import Iterator, Sequence

import numpy as np
from typing_extensions import override

from bench.errors import BenchError
from bench.exchange import Exchange, ServerConnection, UmadConnection, new_exchange
from umad.content import MediaFile, PlacedFile
from umad.protocol.frames import encode_frame
from umad.protocol.messages import Generate, encode_request
from umad.request import GenerateRequest, SamplingParams

WIDTH_PX, HEIGHT_PX = 4000, 3000
QUALITY = 90
# llama-server takes the place of a medium in a prompt from this variable; else it draws one.
MARKER_VARIABLE, MARKER = "LLAMA_MEDIA_MARKER", "<__media__>"
_QUESTION = "What is to be seen here?"
_COMMENT = b"\xff\xfe"  # JPEG's COM segment


def jpeg(*, seed: int = 0, width: int = WIDTH_PX, height: int = HEIGHT_PX) -> bytes:
    """A photo: smooth shades with some noise, about as large a file as a camera makes."""
    try:
        from PIL import Image  # noqa: PLC0415  (of the extra `media`)
    except ImportError:
        raise BenchError("photos need Pillow: pip install 'umad[media]'") from None
    drawn = np.random.default_rng(seed)
    shades = drawn.integers(0, 256, (height // 100, width // 100, 3), np.uint8)
    picture = Image.fromarray(shades).resize((width, height), Image.Resampling.BICUBIC)
    noise = drawn.normal(0, 6, (height, width, 3)).astype(np.int16)
    pixels = np.clip(np.asarray(picture, np.int16) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def different(photo: bytes, first: int = 0) -> Iterator[bytes]:
    """Endlessly many files of the same pixels, no two of them alike."""
    for number in itertools.count(first):
        text = f"photo {number}".encode()
        segment = _COMMENT + (len(text) + 2).to_bytes(2, "big") + text
        yield photo[:2] + segment + photo[2:]


class UmadPhotos(UmadConnection):
    """Sends each prompt as a question about the next photo. It has no words but that question: what
    is measured is the photo."""

    photos: Iterator[bytes]

    @override
    async def send(self, prompt: Sequence[int], *, tokens: int, lane: str) -> Exchange:
        file = MediaFile(kind="image", data=next(self.photos))
        request = GenerateRequest(
            prompt=_QUESTION,
            media=(PlacedFile(at=0, file=file),),
            sampling=SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True),
            lane=lane,
        )
        frame = encode_frame(encode_request(Generate(id=0, request=request)))
        self._exchange = new_exchange(len(prompt), tokens)
        self._write(frame)
        return self._exchange


class ServerPhotos(ServerConnection):
    """The same, as llama-server's `/completion` takes it."""

    photos: Iterator[bytes]

    @override
    def request(self, prompt: Sequence[int], tokens: int) -> bytes:
        body = json.dumps(
            {
                "prompt": {
                    "prompt_string": f"{MARKER}{_QUESTION}",
                    "multimodal_data": [base64.b64encode(next(self.photos)).decode()],
                },
                "n_predict": tokens,
                "stream": True,
                "ignore_eos": True,
                "cache_prompt": False,
                "temperature": 0,
            }
        ).encode()
        head = (
            "POST /completion HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body
