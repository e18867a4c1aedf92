"""Beside streams that somebody reads, a file is decoded on idle cores alone, for a while."""

import contextlib
import os
import resource
import sys
import threading
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from tests.media.pictures import pixels, saved
from umad.content import MediaFile
from umad.media.decoder import MediaDecoder
from umad.media.limits import MediaLimits

if sys.platform != "linux":
    pytest.skip("other systems have no such class", allow_module_level=True)

SMALL = MediaFile(kind="image", data=saved(pixels(), "PNG"))
# Its decoding can be looked at.
LARGE = MediaFile(kind="image", data=saved(np.zeros((3000, 3000, 3), np.uint8), "PNG"))


@pytest.fixture
def decoder() -> Iterator[MediaDecoder]:
    one = MediaDecoder()
    yield one
    one.close()


def classes_of(decoder: MediaDecoder, file: MediaFile, *, gently: bool) -> set[int]:
    """The scheduling classes of the processes that decode a file. It is decoded until one was
    seen."""
    decoder.medium(SMALL)
    process = decoder._process
    assert process is not None
    seen: set[int] = set()
    while not seen:
        thread = threading.Thread(target=lambda: decoder.medium(file, gently=gently))
        thread.start()
        while thread.is_alive():
            for child in psutil.Process(process.pid).children():
                with contextlib.suppress(ProcessLookupError):
                    # It takes its class before it is confined.
                    if resource.prlimit(child.pid, resource.RLIMIT_NPROC) == (0, 0):
                        seen.add(os.sched_getscheduler(child.pid))
        thread.join()
    return seen


def test_beside_streams_a_file_has_idle_cores_alone(decoder: MediaDecoder) -> None:
    # Other programs may leave it none for a while.
    assert os.SCHED_IDLE in classes_of(decoder, LARGE, gently=True)


def test_else_it_has_what_every_process_has(decoder: MediaDecoder) -> None:
    assert classes_of(decoder, LARGE, gently=False) == {os.sched_getscheduler(0)}


def test_a_file_that_no_core_was_left_for_is_decoded_as_usual() -> None:
    decoder = MediaDecoder(MediaLimits(gentle_s=0.0))

    assert os.sched_getscheduler(0) in classes_of(decoder, LARGE, gently=True)

    assert decoder.medium(SMALL, gently=True) == decoder.medium(SMALL)
    decoder.close()


def test_the_picture_is_the_same(decoder: MediaDecoder) -> None:
    assert decoder.medium(SMALL, gently=True) == decoder.medium(SMALL)
    assert decoder.medium(LARGE, gently=True) == decoder.medium(LARGE)
