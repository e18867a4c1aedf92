"""Speech to text over the socket: a real daemon, whisper.cpp itself, a model of random weights."""

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from tests.live import LiveDaemon, collect, greedy, live_daemon, processes, wait_until
from tests.speech.recordings import noise, noise_bytes
from umad.client import AsyncClient, Client
from umad.errors import (
    AudioTooLong,
    BadRequest,
    DeadlineExceeded,
    UmadError,
    Unsupported,
    UnsupportedAudio,
)
from umad.testing.whisper_file import write_whisper
from umad.transcription import Heard, Transcript

SPEECH = "whisper-tiny.en"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech")
    write_whisper(path / "ggml-tiny.en.bin")
    noise(path / "short.wav", 3.0)
    noise(path / "long.flac", 75.0)
    return path


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[LiveDaemon]:
    arguments = ("nano", str(folder / "ggml-tiny.en.bin"), "--limits-audio-s", "200")
    with live_daemon(folder, *arguments) as one:
        yield one


def transcriber(daemon: LiveDaemon) -> psutil.Process:
    wait_until(lambda: bool(processes(daemon, "umad.speech.hearing")), what="a transcriber")
    return processes(daemon, "umad.speech.hearing")[0]


def share_of_a_core(process: psutil.Process) -> float:
    """Percent of one core that a process takes, in half a second from now."""
    try:
        return process.cpu_percent(0.5)
    except psutil.NoSuchProcess:
        return 0.0


async def live(client: AsyncClient) -> Sequence[Mapping[str, Any]]:
    """The live requests, once there is one."""
    while True:
        if rows := await client.sessions():
            return rows


@pytest.fixture(scope="module")
def undisturbed(daemon: LiveDaemon, folder: Path) -> Transcript:
    """What is heard in the long recording."""
    with Client(daemon.socket) as client:
        return client.transcribe(folder / "long.flac", words=True)


def test_a_long_recording_is_heard_window_by_window(
    daemon: LiveDaemon, folder: Path, undisturbed: Transcript
) -> None:
    with Client(daemon.socket) as client:
        *news, whole = client.hear(folder / "long.flac", words=True)

    assert isinstance(whole, Transcript)
    heard = [one for one in news if isinstance(one, Heard)]
    assert len(heard) == len(news) >= 3
    assert [one.done_s for one in heard] == sorted({one.done_s for one in heard})
    assert (heard[-1].done_s, heard[-1].total_s, whole.duration_s) == (75.0, 75.0, 75.0)
    segments = [segment for one in heard for segment in one.segments]
    assert tuple(segments) == whole.segments
    assert whole.model == SPEECH
    assert all(0 <= one.start_s <= one.end_s <= 75 for one in segments)
    assert whole.text
    # The same weights and sound, so the same text.
    assert whole.text == undisturbed.text


def test_words_have_times_within_the_recording(undisturbed: Transcript) -> None:
    assert undisturbed.words
    for word in undisturbed.words:
        assert word.text
        assert 0 <= word.start_s <= word.end_s <= 75
        assert 0 <= word.probability <= 1


def test_both_clients_hear_the_same_in_a_file_and_in_its_bytes(
    daemon: LiveDaemon, tmp_path: Path
) -> None:
    data = noise_bytes(4.0)
    (tmp_path / "a.flac").write_bytes(data)

    async def ask() -> Transcript:
        async with daemon.client() as client:
            return await client.transcribe(data)

    with Client(daemon.socket) as client:
        by_path = client.transcribe(tmp_path / "a.flac", model=SPEECH)

    assert asyncio.run(ask()) == by_path


def test_a_transcriber_that_is_killed_in_a_window_costs_nothing_of_the_text(
    daemon: LiveDaemon, folder: Path, undisturbed: Transcript
) -> None:
    with Client(daemon.socket) as client:
        events = client.hear(folder / "long.flac", words=True)
        next(events)
        os.kill(transcriber(daemon).pid, signal.SIGKILL)
        *_, whole = events

    assert isinstance(whole, Transcript)
    assert whole.text == undisturbed.text


def test_a_speech_engine_that_is_killed_goes_on_behind_its_last_window(
    daemon: LiveDaemon, folder: Path, undisturbed: Transcript
) -> None:
    with Client(daemon.socket) as client:
        events = client.hear(folder / "long.flac", words=True)
        first = next(events)
        (engine,) = processes(daemon, "umad.speech")
        engine.kill()
        *news, whole = events

    assert isinstance(whole, Transcript)
    assert whole.text == undisturbed.text
    # What was heard is not heard again.
    assert isinstance(first, Heard)
    assert all(isinstance(one, Heard) and one.done_s > first.done_s for one in news)


def test_a_cancelled_transcription_ends_at_once_and_takes_no_core_on(
    daemon: LiveDaemon, folder: Path
) -> None:
    async def ask() -> float:
        async with daemon.client() as client:
            task = asyncio.create_task(client.transcribe(folder / "long.flac"))
            rows = await live(client)
            assert [row["state"] for row in rows] == ["transcribing"]
            began_s = asyncio.get_running_loop().time()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while await client.sessions():
                pass
            return asyncio.get_running_loop().time() - began_s

    # One second on a quiet machine; this one may be crowded.
    assert asyncio.run(asyncio.wait_for(ask(), 60)) < 10
    # The process was killed in its window, or had not begun it.
    assert sum(share_of_a_core(one) for one in processes(daemon, "umad.speech.hearing")) < 50
    with Client(daemon.socket) as client:
        assert client.transcribe(folder / "short.wav").duration_s == 3.0


def test_umad_cancel_ends_a_transcription_by_its_name(daemon: LiveDaemon, folder: Path) -> None:
    async def ask() -> str:
        async with daemon.client() as client:
            task = asyncio.create_task(client.transcribe(folder / "long.flac"))
            rows = await live(client)
            await client.cancel(str(rows[0]["request"]))
            with pytest.raises(UmadError) as ended:
                await task
            return ended.value.code

    assert asyncio.run(asyncio.wait_for(ask(), 60)) == "cancelled"


def test_a_long_recording_steps_back_from_a_chat_of_another_model(
    daemon: LiveDaemon, folder: Path
) -> None:
    async def both() -> tuple[set[str], int, Transcript]:
        async with daemon.client() as client:
            hearing = asyncio.create_task(client.transcribe(folder / "long.flac"))
            await live(client)
            streaming = asyncio.create_task(collect(client, greedy("def f(", 400)))
            seen: set[str] = set()
            while not streaming.done():
                seen |= {one.status() for one in processes(daemon, "umad.speech.hearing")}
                # An answer of the daemon is a pause that has its end by itself.
                await client.ping()
            return seen, len((await streaming).ids), await hearing

    seen, n_tokens, transcript = asyncio.run(asyncio.wait_for(both(), 110))

    assert psutil.STATUS_STOPPED in seen
    assert n_tokens == 400
    # It goes on once the chat has ended.
    assert transcript.duration_s == 75.0


def test_a_deadline_ends_it(daemon: LiveDaemon, folder: Path) -> None:
    with Client(daemon.socket) as client, pytest.raises(DeadlineExceeded):
        client.transcribe(folder / "long.flac", deadline_ms=50)


def test_silence_is_an_empty_text(daemon: LiveDaemon, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000 * 40), 16_000)

    with Client(daemon.socket) as client:
        transcript = client.transcribe(tmp_path / "silence.wav")

    assert (transcript.text, transcript.segments, transcript.duration_s) == ("", (), 40.0)


def test_a_recording_that_is_too_long_is_refused(daemon: LiveDaemon, tmp_path: Path) -> None:
    path = noise(tmp_path / "a.wav", 201.0, rate=1000)

    with Client(daemon.socket) as client, pytest.raises(AudioTooLong, match=r"limits\.audio_s"):
        client.transcribe(path)


def test_what_is_no_recording_is_refused_and_disturbs_nobody(
    daemon: LiveDaemon, tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7" + bytes(500))

    with Client(daemon.socket) as client:
        with pytest.raises(UnsupportedAudio, match="a PDF"):
            client.transcribe(tmp_path / "a.pdf")
        with pytest.raises(BadRequest, match="No such file"):
            client.transcribe(tmp_path / "none.wav")
        with pytest.raises(BadRequest, match="English alone"):
            client.transcribe(folder / "short.wav", language="de")
        assert client.transcribe(folder / "short.wav").duration_s == 3.0


def test_speech_is_asked_of_speech_models_and_text_of_the_others(
    daemon: LiveDaemon, folder: Path
) -> None:
    with Client(daemon.socket) as client:
        with pytest.raises(Unsupported, match=f"nano does not.*{SPEECH} here does"):
            client.transcribe(folder / "short.wav", model="nano")
        with pytest.raises(Unsupported, match=f"{SPEECH} is a speech model.*nano here"):
            client.complete("hello", model=SPEECH)
        with pytest.raises(Unsupported, match="speech model"):
            client.embed("hello", model=SPEECH)
        with pytest.raises(Unsupported, match="speech model"):
            client.tokenize("hello", model=SPEECH)
        # OpenAI's programs ask for its own model, whatever is here.
        assert client.transcribe(folder / "short.wav", model="whisper-1").model == SPEECH
        kinds = {row.name: row.transcribes for row in client.models()}

    assert kinds == {"nano": False, SPEECH: True}


def test_a_model_of_texts_is_asked_where_none_is_named(folder: Path, tmp_path: Path) -> None:
    arguments = (str(folder / "ggml-tiny.en.bin"), "nano")
    with live_daemon(tmp_path, *arguments) as one, Client(one.socket) as client:
        assert client.complete("def f(", max_tokens=3)
