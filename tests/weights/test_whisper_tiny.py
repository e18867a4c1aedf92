"""Real speech through the whole of umad with a real Whisper, beside whisper.cpp and faster-whisper.

`FASTER_WHISPER_PYTHON` is a Python that has faster-whisper (`make weights-test`).
"""

import dataclasses
import io
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import webvtt

from tests.live import LiveDaemon, live_daemon
from tests.weights.whisper_tiny import TEXT, WhisperTiny, whisper_tiny
from umad.client import Client
from umad.engine.process import decode_threads
from umad.subtitles import srt, vtt
from umad.transcription import Transcript

# whisper.cpp by its own Python interface: each word a segment.
ALONE = """
import json, sys
import soundfile
import numpy as np
import soxr
from pywhispercpp.model import Model
samples, rate = soundfile.read(sys.argv[2], dtype="float32")
samples = soxr.resample(samples, rate, 16000)
words = {"token_timestamps": True, "max_len": 1, "split_on_word": True}
model = Model(sys.argv[1], print_progress=False, **words)
heard = model.transcribe(np.array(samples, np.float32)[: 16000 * 30])
print(json.dumps([[one.text, one.t0 / 100, one.t1 / 100] for one in heard]))
"""
# As fast as it can be asked to be: whole numbers of 8 bits, and the likeliest token each time.
FASTER = """
import json, resource, sys
from faster_whisper import WhisperModel
def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8", cpu_threads=int(sys.argv[3]))
before_s = cpu_s()
found, _ = model.transcribe(sys.argv[2], language="en", beam_size=1, word_timestamps=True)
text = "".join(one.text for one in found)
print(json.dumps([text, cpu_s() - before_s]))
"""
FASTER_PYTHON = os.environ.get("FASTER_WHISPER_PYTHON")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spoken:
    """What was heard, and the processor time of whisper.cpp."""

    transcript: Transcript
    cpu_s: float


@pytest.fixture(scope="module")
def files() -> WhisperTiny:
    return whisper_tiny()


@pytest.fixture(scope="module")
def daemon(files: WhisperTiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    with live_daemon(tmp_path_factory.mktemp("whisper"), "nano", str(files.model)) as one:
        yield one


@pytest.fixture(scope="module")
def spoken(daemon: LiveDaemon, files: WhisperTiny) -> Spoken:
    before_s = cpu_s(daemon)
    with Client(daemon.socket) as client:
        heard = client.transcribe(files.speech, words=True, language="en")
    used_s = cpu_s(daemon) - before_s
    print(f"44 s of speech: {used_s:.1f} s of processor time")
    return Spoken(transcript=heard, cpu_s=used_s)


@pytest.fixture(scope="module")
def transcript(spoken: Spoken) -> Transcript:
    return spoken.transcript


def cpu_s(daemon: LiveDaemon) -> float:
    """Processor time of the transcriber."""
    used = 0.0
    for child in psutil.Process(daemon.process.pid).children(recursive=True):
        if "umad.speech.hearing" in child.cmdline():
            times = child.cpu_times()
            used += times.user + times.system
    return used


def plain(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def errors(heard: Sequence[str], said: Sequence[str]) -> int:
    """Words that were left out, put in or replaced (Levenshtein)."""
    row = list(range(len(said) + 1))
    for at, word in enumerate(heard, 1):
        before, row[0] = row[0], at
        for place, other in enumerate(said, 1):
            least = min(row[place] + 1, row[place - 1] + 1, before + (word != other))
            before, row[place] = row[place], least
    return row[-1]


def test_real_speech_becomes_its_text(transcript: Transcript) -> None:
    said = plain(TEXT)
    rate = errors(plain(transcript.text), said) / len(said)

    print(f"word error rate {rate:.1%} of {len(said)} words")
    assert rate <= 0.05


def test_words_stand_where_whisper_cpp_puts_them(
    transcript: Transcript, files: WhisperTiny
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", ALONE, str(files.model), str(files.speech)],
        check=True,
        capture_output=True,
        timeout=600,
        text=True,
    )
    alone = [one for one in json.loads(told.stdout) if plain(one[0])]
    own = transcript.words[: len(alone)]

    # Both heard the same first 30 s; the last words of those belong to the next window here.
    pairs = list(zip(own, alone, strict=False))[:60]
    assert [plain(word.text) for word, _ in pairs] == [plain(text) for _, (text, _, _) in pairs]
    furthest_s = max(abs(word.start_s - start) for word, (_, start, _) in pairs)
    print(f"words begin at most {furthest_s:.2f} s from where whisper.cpp has them")
    assert furthest_s <= 0.3


def test_other_programs_read_its_subtitles(transcript: Transcript) -> None:
    read = {
        "srt": webvtt.from_buffer(io.StringIO(srt(transcript.segments)), format="srt").captions,
        "vtt": webvtt.from_string(vtt(transcript.segments), strict=True).captions,
    }

    for captions in read.values():
        assert plain(" ".join(one.text for one in captions)) == plain(transcript.text)
        times = [(one.start_in_seconds, one.end_in_seconds) for one in captions]
        assert times == sorted(times)
        assert times[-1][1] <= 45


@pytest.mark.timeout(600)
@pytest.mark.skipif(FASTER_PYTHON is None, reason="make weights-test sets FASTER_WHISPER_PYTHON")
def test_it_takes_at_most_four_times_faster_whispers_processor_time(
    spoken: Spoken, files: WhisperTiny
) -> None:
    told = subprocess.run(
        [str(FASTER_PYTHON), "-c", FASTER, str(files.ctranslate2), str(files.speech),
         str(decode_threads())],
        check=True,
        capture_output=True,
        timeout=600,
        text=True,
    )  # fmt: skip
    text, faster_s = json.loads(told.stdout)
    said = plain(TEXT)
    rate = errors(plain(text), said) / len(said)

    print(
        f"processor time: {spoken.cpu_s:.1f} s, faster-whisper {faster_s:.1f} s "
        f"({spoken.cpu_s / faster_s:.1f} times); its word error rate {rate:.1%}"
    )
    # It hears about the same, or it would be no comparison. Its 8 bits cost it some words.
    assert rate <= 0.10
    # Two and a half times on two quiet cores, and threads that wait for one another take more.
    assert spoken.cpu_s <= 4 * faster_s


@pytest.mark.timeout(600)
def test_long_silence_costs_no_word_and_adds_none(
    daemon: LiveDaemon, files: WhisperTiny, transcript: Transcript, tmp_path: Path
) -> None:
    said, rate = soundfile.read(files.speech, dtype="float32")
    random = np.random.default_rng(1)
    quiet_s = 25.0
    # A microphone that is off: digital silence, and the hiss of its amplifier.
    off = np.zeros(int(quiet_s * rate), np.float32)
    hiss = random.standard_normal(int(quiet_s * rate)).astype(np.float32) * 1e-4
    soundfile.write(tmp_path / "a.wav", np.concatenate([off, said, hiss, said, off]), rate)

    with Client(daemon.socket) as client:
        heard = client.transcribe(tmp_path / "a.wav", words=True, language="en")

    text = plain(TEXT)
    rate_of_errors = errors(plain(heard.text), text + text) / (2 * len(text))
    print(f"between silence: word error rate {rate_of_errors:.1%} of {2 * len(text)} words")
    assert rate_of_errors <= 0.05
    lasts_s = len(said) / rate
    begins = [quiet_s, 2 * quiet_s + lasts_s]
    for word in heard.words:
        # Within half a second of somebody's reading.
        assert any(
            one - 0.5 <= word.start_s and word.end_s <= one + lasts_s + 0.5 for one in begins
        ), word
    # The same words as without the silence, and at the same times behind it.
    pairs = list(zip(heard.words, transcript.words, strict=False))[:60]
    assert [plain(one.text) for one, _ in pairs] == [plain(other.text) for _, other in pairs]
    moved_s = [one.start_s - quiet_s - other.start_s for one, other in pairs]
    print(f"behind silence words begin {statistics.median(moved_s):+.2f} s later")
    assert abs(statistics.median(moved_s)) <= 0.3


@pytest.mark.timeout(600)
def test_a_room_in_which_nobody_speaks_is_an_empty_text(daemon: LiveDaemon, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    fan = random.standard_normal(16_000 * 35).astype(np.float32) * 10 ** (-50 / 20)
    soundfile.write(tmp_path / "a.wav", fan, 16_000)

    with Client(daemon.socket) as client:
        assert client.transcribe(tmp_path / "a.wav").text == ""
