"""`umad transcribe` as a shell runs it: a real daemon, whisper.cpp itself, random weights."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webvtt

from tests.live import START_S, LiveDaemon, live_daemon
from tests.speech.recordings import noise
from umad.client import Client
from umad.testing.whisper_file import write_whisper
from umad.transcription import Transcript

ROOT = Path(__file__).parents[2]
# Rounded, and a cue ends a millisecond behind its beginning at least.
TICK_MS = 1.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech")
    write_whisper(path / "ggml-tiny.en.bin")
    noise(path / "long.flac", 65.0)
    soundfile.write(path / "silence.wav", np.zeros(16_000 * 3), 16_000)
    return path


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[LiveDaemon]:
    with live_daemon(folder, str(folder / "ggml-tiny.en.bin")) as one:
        yield one


@pytest.fixture(scope="module")
def heard(daemon: LiveDaemon, folder: Path) -> Transcript:
    """What Python's client is told of the same recording."""
    with Client(daemon.socket) as client:
        return client.transcribe(folder / "long.flac", words=True)


def environment(daemon: LiveDaemon) -> dict[str, str]:
    return os.environ | {"UMAD_SOCKET": str(daemon.socket), "PYTHONPATH": str(ROOT)}


def ran(daemon: LiveDaemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with its output piped."""
    return subprocess.run(
        [sys.executable, "-m", "umad", "transcribe", *arguments],
        env=environment(daemon),
        cwd=daemon.socket.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


def output(daemon: LiveDaemon, *arguments: str) -> str:
    """What it prints, and nothing on stderr."""
    done = ran(daemon, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_is_piped_is_the_text_and_nothing_else(daemon: LiveDaemon, heard: Transcript) -> None:
    assert heard.text
    # A path is one of the folder that the command runs in.
    assert output(daemon, "long.flac") == heard.text + "\n"


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_are_what_a_parser_of_them_reads(
    daemon: LiveDaemon, heard: Transcript, tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"a.{form}"
    path.write_text(output(daemon, "long.flac", "--format", form))

    read = webvtt.from_srt(str(path)) if form == "srt" else webvtt.read(str(path))
    cues = read.captions

    segments = [one for one in heard.segments if one.text.strip()]
    assert len(segments) > 2
    assert [cue.text for cue in cues] == [" ".join(one.text.split()) for one in segments]
    for cue, segment in zip(cues, segments, strict=True):
        assert abs(cue.start_time.in_milliseconds() - segment.start_s * 1000) < TICK_MS
        assert abs(cue.end_time.in_milliseconds() - segment.end_s * 1000) < TICK_MS


def test_json_has_all_that_was_heard(daemon: LiveDaemon, heard: Transcript) -> None:
    said = json.loads(output(daemon, "long.flac", "--format", "json", "--words"))

    assert (said["text"], said["model"], said["language"]) == (heard.text, heard.model, "en")
    assert said["duration_s"] == 65.0
    words = [word for one in said["segments"] for word in one["words"]]
    assert [one["text"] for one in words] == [one.text for one in heard.words]
    assert [one["start_s"] for one in words] == [one.start_s for one in heard.words]


def test_a_terminal_sees_how_far_it_is(daemon: LiveDaemon) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "umad", "transcribe", "long.flac"],
        env=environment(daemon) | {"TERM": "xterm", "COLUMNS": "80"},
        cwd=daemon.socket.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = b""
        while piece := some_of(ours):
            seen += piece
        os.close(ours)
        assert process.wait(START_S) == 0

    assert b"of 1:05" in seen


def some_of(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so where nobody has the other end any more
        return b""


@pytest.mark.parametrize(("form", "nothing"), [("text", "\n"), ("srt", ""), ("vtt", "WEBVTT\n")])
def test_silence_is_nothing(daemon: LiveDaemon, form: str, nothing: str) -> None:
    assert output(daemon, "silence.wav", "--format", form) == nothing


def test_a_file_that_is_missing_is_wrong_usage(daemon: LiveDaemon) -> None:
    done = ran(daemon, "none.wav")

    assert (done.returncode, done.stdout) == (2, "")
    assert "none.wav" in done.stderr
    assert "does not exist" in done.stderr


def test_a_file_that_is_no_recording_is_named_in_one_line(daemon: LiveDaemon, folder: Path) -> None:
    (folder / "a.wav").write_bytes(b"%PDF-1.7" + bytes(500))

    done = ran(daemon, "a.wav")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("umad: ")
    assert "a PDF" in done.stderr
    assert done.stderr.count("\n") == 1
