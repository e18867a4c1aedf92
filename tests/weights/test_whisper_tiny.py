"""Real speech through the whole of umad with a real Whisper, beside whisper.cpp itself."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence

import psutil
import pytest

from tests.live import LiveDaemon, live_daemon
from tests.weights.whisper_tiny import TEXT, WhisperTiny, whisper_tiny
from umad.client import Client
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


@pytest.fixture(scope="module")
def files() -> WhisperTiny:
    return whisper_tiny()


@pytest.fixture(scope="module")
def daemon(files: WhisperTiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    with live_daemon(tmp_path_factory.mktemp("whisper"), "nano", str(files.model)) as one:
        yield one


@pytest.fixture(scope="module")
def transcript(daemon: LiveDaemon, files: WhisperTiny) -> Transcript:
    before_s = cpu_s(daemon)
    with Client(daemon.socket) as client:
        heard = client.transcribe(files.speech, words=True, language="en")
    print(f"44 s of speech: {cpu_s(daemon) - before_s:.1f} s of processor time")
    return heard


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
