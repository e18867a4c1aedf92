"""A request about an image is given up while its file is decoded, while it is encoded, and while it
is answered: its client is told at once, and waits for nothing that cannot be stopped."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.live import LiveDaemon, Stream, collect, live_daemon
from tests.media_families import arguments, asking, file_for
from umad.content import MediaFile

AFTER = "\n    return"
DECODED, ENCODED = "file decoded", "medium encoded"


def picture(width: int, height: int) -> MediaFile:
    drawn = np.random.default_rng(7).integers(0, 256, (height // 100, width // 100, 3), np.uint8)
    file = io.BytesIO()
    scaled = Pillow.fromarray(drawn).resize((width, height), Pillow.Resampling.NEAREST)
    scaled.save(file, "PNG", compress_level=1)
    return MediaFile(kind="image", data=file.getvalue())


# Its decoding takes half a second of a core, and nothing of it is told before the end.
LARGE = picture(7000, 7000)
# 900 rows of qwen2vl: in each of its encoder's layers 3,600 patches look at one another. It can be
# stopped between two layers, so it has as many as a real one.
DETAILED = picture(840, 840)
LAYERS = 32


async def given_up(
    daemon: LiveDaemon, file: MediaFile, *, once: Callable[[Stream], bool]
) -> tuple[Stream, str]:
    """(the answer of a request that is cancelled from elsewhere `once` that holds, the log when it
    had ended)."""
    async with daemon.client() as owner, daemon.client() as other:
        stream = Stream()
        task = asyncio.create_task(collect(owner, asking(file, AFTER, 400), stream))
        while not (rows := await other.sessions()) or not once(stream):
            assert not task.done(), stream.failed
            await asyncio.sleep(0.01)
        await other.cancel(rows[0]["request"])
        await task
        return stream, daemon.log


@pytest.mark.parametrize(
    ("family", "file", "during"),
    [("gemma3", LARGE, "decoding"), ("qwen2vl", DETAILED, "encoding"), ("gemma3", None, "answer")],
)
def test_who_gives_a_request_up_is_told_at_once(
    short_tmp_path: Path, family: str, file: MediaFile | None, during: str
) -> None:
    shape = {"layers": LAYERS} if during == "encoding" else {}
    served = (*arguments(short_tmp_path, family, **shape), "--threads", "1")
    with live_daemon(short_tmp_path, *served) as daemon:
        once: dict[str, Callable[[Stream], bool]] = {
            "decoding": lambda _: True,
            "encoding": lambda _: DECODED in daemon.log,
            "answer": lambda stream: len(stream.ids) > 0,
        }
        asked = given_up(daemon, file or file_for(family), once=once[during])
        stream, log = asyncio.run(asyncio.wait_for(asked, 120))
        assert stream.done is not None, stream.failed
        assert stream.done.finish_reason == "cancelled"
        # What goes on in the background had not come to its end when the client was told.
        assert (DECODED in log) == (during != "decoding")
        assert (ENCODED in log) == (during == "answer")

        async def next_one() -> Stream:
            async with daemon.client() as client:
                return await collect(client, asking(file_for(family, seed=3), AFTER, 2))

        after = asyncio.run(asyncio.wait_for(next_one(), 120))
        assert after.done is not None, after.failed
