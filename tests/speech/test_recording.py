"""Recordings and their reader, a process of its own, with real files of every format."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.speech.recordings import noise
from umad.errors import AudioTooLong, BadRequest, UnsupportedAudio
from umad.speech.recording import Recording
from umad.speech.window import SAMPLE_RATE, WINDOW_SAMPLES

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 8
MP4 = b"\0\0\0\x20ftypisom" + bytes(2000)


@contextmanager
def opened(path: Path, *, most_s: float = 3600.0) -> Iterator[Recording]:
    with closing(Recording.opened(str(path), None, most_s=most_s)) as one:
        yield one


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_every_format_is_heard(tmp_path: Path, ending: str) -> None:
    path = noise(tmp_path / f"a.{ending}", 1.0)

    with opened(path) as recording:
        window, is_last = recording.window(0)

    assert is_last
    # MP3 pads its beginning and end.
    assert abs(window.size - SAMPLE_RATE) < 0.15 * SAMPLE_RATE
    assert 0.05 < float(np.std(window)) < 0.15


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44_100, 2), (48_000, 6), (96_000, 1)])
def test_every_rate_and_number_of_channels_is_heard(
    tmp_path: Path, rate: int, channels: int
) -> None:
    path = noise(tmp_path / "a.wav", 2.0, rate=rate, channels=channels)

    with opened(path) as recording:
        window, is_last = recording.window(0)

    assert (window.size, is_last, recording.total_s) == (2 * SAMPLE_RATE, True, 2.0)


def test_windows_follow_each_other_and_the_last_one_says_so(tmp_path: Path) -> None:
    path = noise(tmp_path / "a.flac", 70.0)
    whole, _ = soundfile.read(path, dtype="float32")

    with opened(path) as recording:
        first, first_is_last = recording.window(0)
        second, second_is_last = recording.window(28.5)
        third, third_is_last = recording.window(58.5)

    assert [first_is_last, second_is_last, third_is_last] == [False, False, True]
    assert first.size == second.size == WINDOW_SAMPLES
    np.testing.assert_array_equal(first, whole[:WINDOW_SAMPLES])
    at = int(28.5 * SAMPLE_RATE)
    np.testing.assert_array_equal(second, whole[at : at + WINDOW_SAMPLES])
    np.testing.assert_array_equal(third, whole[int(58.5 * SAMPLE_RATE) :])


def test_a_recording_is_gone_on_with_where_another_process_had_stopped(tmp_path: Path) -> None:
    path = noise(tmp_path / "a.wav", 70.0)
    whole, _ = soundfile.read(path, dtype="float32")

    with opened(path) as recording:
        later, _ = recording.window(40.0)
        earlier, _ = recording.window(3.0)

    np.testing.assert_array_equal(later, whole[40 * SAMPLE_RATE : 70 * SAMPLE_RATE])
    np.testing.assert_array_equal(earlier, whole[3 * SAMPLE_RATE : 33 * SAMPLE_RATE])


def test_bytes_are_heard_as_a_file_is(tmp_path: Path) -> None:
    path = noise(tmp_path / "a.flac", 1.0)

    with closing(Recording.opened(None, path.read_bytes(), most_s=60)) as recording:
        window, _ = recording.window(0)
    with opened(path) as recording:
        same, _ = recording.window(0)

    np.testing.assert_array_equal(window, same)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.wav", PDF, "a PDF"),
        ("a.mp3", MP4, "MP4"),
        ("a.flac", b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG picture; sounds are read from WAV"),
        ("a.ogg", b"\x1a\x45\xdf\xa3" + bytes(99), "WebM"),
        ("a.wav", b"", "empty"),
        ("a.wav", os.urandom(4000), "this sound is"),
        ("a.wav", b"RIFF\xff\xff\xff\xffWAVEfmt ", "a WAV sound, and its head"),
    ],
)
def test_what_is_no_recording_is_refused_by_what_it_is(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)

    with opened(path) as recording, pytest.raises(UnsupportedAudio, match=words):
        recording.window(0)


def test_a_file_that_is_cut_short_is_heard_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = noise(tmp_path / "whole.wav", 10.0)
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole.read_bytes()[:160_044])

    with opened(cut) as recording:
        window, is_last = recording.window(0)

    assert (window.size, is_last, recording.total_s) == (80_000, True, 5.0)


def test_a_recording_longer_than_the_limit_is_refused_before_it_is_heard(tmp_path: Path) -> None:
    path = noise(tmp_path / "a.wav", 3.0)

    with opened(path, most_s=2.0) as recording, pytest.raises(AudioTooLong, match="2 s"):
        recording.window(0)


def test_a_path_that_leads_to_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in (tmp_path, pipe, tmp_path / "none.wav", Path("/dev/zero")):
        with pytest.raises(BadRequest):
            Recording.opened(str(path), None, most_s=60)
