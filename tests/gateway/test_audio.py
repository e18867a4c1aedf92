"""Speech to text over HTTP: OpenAI's own client, a real gateway, whisper.cpp, random weights."""

import contextlib
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
from openai import APIStatusError, BadRequestError, NotFoundError, OpenAI
from openai.types.audio import TranscriptionVerbose

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.live import processes, wait_until
from tests.media.pictures import recorded, tone
from tests.speech.recordings import noise
from umad.client import Client
from umad.testing.whisper_file import write_whisper
from umad.transcription import MAX_AUDIO_BYTES

SPEECH = "whisper-tiny.en"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
PATHS = (TRANSCRIPTIONS, "/v1/audio/translations")
LONG_S = 75.0
# Room for a body whose file does not fit into one message of the socket.
BODY_BYTES = 24 * 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio")
    write_whisper(path / "ggml-tiny.en.bin")
    noise(path / "short.wav", 3.0)
    noise(path / "long.flac", LONG_S)
    return path


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[LiveGateway]:
    arguments = ("nano", str(folder / "ggml-tiny.en.bin"), "--limits-audio-s", "200")
    with live_gateway(folder, *arguments, "--gateway-body-bytes", str(BODY_BYTES)) as one:
        yield one


@pytest.fixture(scope="module")
def openai(gateway: LiveGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.address}/v1", api_key="none", max_retries=0, timeout=90) as one:
        yield one


@pytest.fixture(scope="module")
def text(gateway: LiveGateway, folder: Path) -> str:
    """What the socket's client is told of the short recording."""
    with Client(gateway.daemon.socket) as client:
        return client.transcribe(folder / "short.wav").text


def posted(gateway: LiveGateway, data: bytes, path: str = TRANSCRIPTIONS, **fields: str) -> Any:
    with gateway.http() as http:
        return http.post(path, files={"file": ("a.wav", data)}, data=fields)


# -- the formats -----------------------------------------------------------------------------------


def test_json_is_the_text_and_how_long_was_heard(openai: OpenAI, folder: Path, text: str) -> None:
    found = openai.audio.transcriptions.create(model=SPEECH, file=folder / "short.wav")

    assert text
    assert found.text == text
    assert found.usage is not None
    assert found.usage.type == "duration"
    assert found.usage.seconds == 3


def test_text_is_the_text_alone(openai: OpenAI, folder: Path, text: str) -> None:
    found = openai.audio.transcriptions.create(
        model=SPEECH, file=folder / "short.wav", response_format="text"
    )

    assert found == text + "\n"


@pytest.mark.parametrize(
    ("form", "begins", "media_type"),
    [("srt", "1\n00:00:00,", "text/plain"), ("vtt", "WEBVTT\n\n00:00:00.", "text/vtt")],
)
def test_subtitles_are_files_of_their_format(
    gateway: LiveGateway, folder: Path, text: str, form: str, begins: str, media_type: str
) -> None:
    answer = posted(gateway, (folder / "short.wav").read_bytes(), response_format=form)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(media_type)
    assert answer.text.startswith(begins)
    assert " ".join(text.split()) in " ".join(answer.text.split())


@pytest.mark.parametrize(
    ("granularities", "has_segments", "has_words"),
    [([], True, False), (["segment"], True, False), (["word"], False, True),
     (["word", "segment"], True, True)],
)  # fmt: skip
def test_verbose_json_has_the_segments_and_words_that_were_asked_for(
    openai: OpenAI, folder: Path, granularities: list[Any], has_segments: bool, has_words: bool
) -> None:
    found = openai.audio.transcriptions.create(
        model=SPEECH,
        file=folder / "long.flac",
        response_format="verbose_json",
        timestamp_granularities=granularities,
    )

    assert isinstance(found, TranscriptionVerbose)
    assert (found.language, found.duration) == ("english", LONG_S)
    assert bool(found.segments) == has_segments
    assert bool(found.words) == has_words
    for one in found.segments or []:
        assert 0 <= one.start <= one.end <= LONG_S
        assert one.tokens
    assert [one.id for one in found.segments or []] == list(range(len(found.segments or [])))
    for word in found.words or []:
        assert word.word
        assert 0 <= word.start <= word.end <= LONG_S
    if has_segments:
        assert "".join(one.text for one in found.segments or []).strip() == found.text
    if has_words:
        said = "".join(one.word for one in found.words or [])
        assert said == found.text.replace(" ", "")


# OpenAI's package says so of translations.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_translation_says_that_it_is_one(openai: OpenAI, folder: Path) -> None:
    found = openai.audio.translations.create(
        model=SPEECH, file=folder / "short.wav", response_format="verbose_json"
    )

    assert found.language == "english"
    assert found.duration == 3.0
    assert found.model_extra is not None
    assert found.model_extra["task"] == "translate"


# -- a stream --------------------------------------------------------------------------------------


def test_a_stream_tells_what_every_window_adds_and_the_whole_at_the_end(
    openai: OpenAI, folder: Path
) -> None:
    whole = openai.audio.transcriptions.create(model=SPEECH, file=folder / "long.flac").text

    with openai.audio.transcriptions.create(
        model=SPEECH, file=folder / "long.flac", stream=True
    ) as stream:
        *deltas, done = stream

    assert len(deltas) >= 2
    added = []
    for one in deltas:
        assert one.type == "transcript.text.delta"
        added.append(one.delta)
    assert done.type == "transcript.text.done"
    assert "".join(added) == done.text == whole


# -- what is refused -------------------------------------------------------------------------------


def test_a_recording_that_is_too_long_is_413(openai: OpenAI, tmp_path: Path) -> None:
    path = noise(tmp_path / "a.wav", 201.0, rate=1000)

    with pytest.raises(APIStatusError, match=r"limits\.audio_s") as refused:
        openai.audio.transcriptions.create(model=SPEECH, file=path)

    assert refused.value.status_code == 413
    assert refused.value.code == "audio_too_long"


def test_a_body_that_is_too_large_is_413(gateway: LiveGateway) -> None:
    answer = posted(gateway, bytes(BODY_BYTES + 1))

    assert answer.status_code == 413
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", ["true", "false"])
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7" + bytes(500), "PDF"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(500), "MP4"),
        (b"\x1aE\xdf\xa3" + b"webm" + bytes(500), "WebM"),
    ],
)
def test_what_is_no_recording_is_415(
    gateway: LiveGateway, data: bytes, what: str, stream: str
) -> None:
    answer = posted(gateway, data, stream=stream)

    error = answer.json()["error"]
    assert answer.status_code == 415
    assert (error["code"], error["param"]) == ("unsupported_audio", "file")
    assert what in error["message"]


def test_a_recording_as_a_telephone_makes_it_is_heard(gateway: LiveGateway) -> None:
    answer = posted(gateway, recorded(tone(8_000, 1.0), 8_000), response_format="verbose_json")

    assert answer.status_code == 200, answer.text
    assert answer.json()["duration"] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("path", PATHS)
def test_a_model_of_texts_does_not_hear(gateway: LiveGateway, folder: Path, path: str) -> None:
    answer = posted(gateway, (folder / "short.wav").read_bytes(), path, model="nano")

    error = answer.json()["error"]
    assert answer.status_code == 501
    assert error["param"] == "model"
    assert SPEECH in error["message"]


def test_a_speech_model_does_not_chat(openai: OpenAI) -> None:
    with pytest.raises(APIStatusError, match=r"speech model.*nano here") as refused:
        openai.chat.completions.create(model=SPEECH, messages=[{"role": "user", "content": "hi"}])

    assert refused.value.status_code == 501


def test_an_unknown_model_is_404(openai: OpenAI, folder: Path) -> None:
    with pytest.raises(NotFoundError, match="whisper-9"):
        openai.audio.transcriptions.create(model="whisper-9", file=folder / "short.wav")


@pytest.mark.parametrize("language", ["en", "English", "en-GB"])
def test_a_language_is_a_code_or_a_name(
    openai: OpenAI, folder: Path, text: str, language: str
) -> None:
    found = openai.audio.transcriptions.create(
        model=SPEECH, file=folder / "short.wav", language=language
    )

    assert found.text == text


def test_what_is_no_language_is_named(openai: OpenAI, folder: Path) -> None:
    with pytest.raises(BadRequestError, match="'klingon' is none") as refused:
        openai.audio.transcriptions.create(
            model=SPEECH, file=folder / "short.wav", language="klingon"
        )

    assert refused.value.param == "language"


def test_a_language_that_the_model_does_not_know_is_named(openai: OpenAI, folder: Path) -> None:
    with pytest.raises(BadRequestError, match="English alone") as refused:
        openai.audio.transcriptions.create(model=SPEECH, file=folder / "short.wav", language="de")

    assert refused.value.param == "language"


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_no_form_is_400(gateway: LiveGateway, path: str) -> None:
    with gateway.http() as http:
        answer = http.post(path, json={"model": SPEECH})

    assert answer.status_code == 400
    assert "multipart/form-data" in answer.json()["error"]["message"]


# -- what programs send ----------------------------------------------------------------------------


def test_openais_own_name_is_the_model_that_is_here(
    openai: OpenAI, folder: Path, text: str
) -> None:
    found = openai.audio.transcriptions.create(model="whisper-1", file=folder / "short.wav")

    assert found.text == text


def test_a_file_that_fits_into_no_message_is_heard_and_leaves_nothing_behind(
    folder: Path, tmp_path: Path
) -> None:
    # A gateway of its own, to see where it writes.
    written = tmp_path / "tmp"
    written.mkdir()
    random = np.random.default_rng(1)
    soundfile.write(tmp_path / "a.wav", random.standard_normal((96_000 * 16, 2)) * 0.1, 96_000,
                    subtype="FLOAT")  # fmt: skip
    data = (tmp_path / "a.wav").read_bytes()
    assert len(data) > MAX_AUDIO_BYTES

    with live_gateway(
        tmp_path,
        str(folder / "ggml-tiny.en.bin"),
        "--gateway-body-bytes",
        str(BODY_BYTES),
        environment={"TMPDIR": str(written)},
    ) as one:
        answer = posted(one, data, response_format="verbose_json")
        wait_until(lambda: not list(written.glob("umad-audio-*")), what="the end of the file")

    assert answer.status_code == 200
    assert answer.json()["duration"] == 16.0


def test_silence_is_an_empty_text_in_every_format(gateway: LiveGateway, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000 * 40), 16_000)
    data = (tmp_path / "a.wav").read_bytes()

    said = {
        form: posted(gateway, data, response_format=form).text
        for form in ("json", "text", "srt", "vtt", "verbose_json")
    }

    assert json.loads(said["json"])["text"] == ""
    assert json.loads(said["verbose_json"])["segments"] == []
    assert said["text"].strip() == said["srt"].strip() == ""
    assert said["vtt"].strip() == "WEBVTT"


# -- a client that leaves --------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["true", "false"])
def test_a_hang_up_ends_the_transcription(
    gateway: LiveGateway, folder: Path, text: str, stream: str
) -> None:
    short = (folder / "short.wav").read_bytes()
    assert posted(gateway, short).json()["text"] == text
    (transcriber,) = processes(gateway.daemon, "umad.speech.hearing")
    # So that the transcription has no other end.
    transcriber.suspend()

    try:
        with closing(asked(gateway, (folder / "long.flac").read_bytes(), stream)):
            wait_until(lambda: states(gateway) == ["transcribing"], what="the transcription")

        wait_until(lambda: not states(gateway), what="the end of it")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have been killed in its window
            transcriber.resume()
    assert posted(gateway, short).json()["text"] == text


def states(gateway: LiveGateway) -> list[str]:
    with Client(gateway.daemon.socket) as client:
        return [str(row["state"]) for row in client.sessions()]


def asked(gateway: LiveGateway, data: bytes, stream: str) -> socket.socket:
    """A request on a connection of its own, sent and not yet answered."""
    part = b"--xyz\r\nContent-Disposition: form-data; name="
    body = part + b'"stream"\r\n\r\n' + stream.encode() + b"\r\n"
    body += part + b'"file"; filename="a.flac"\r\n\r\n' + data + b"\r\n--xyz--\r\n"
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
    connection.sendall(
        f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary=xyz\r\nContent-Length: {len(body)}\r\n\r\n"
        .encode()
        + body
    )  # fmt: skip
    return connection


# -- the document ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_the_document_describes_the_form(gateway: LiveGateway, path: str) -> None:
    with gateway.http() as http:
        document = http.get("/openapi.json").json()
        page = http.get("/docs").text

    operation = document["paths"][path]["post"]
    ((kind, content),) = operation["requestBody"]["content"].items()
    assert kind == "multipart/form-data"
    schema = content["schema"]
    assert schema["required"] == ["file"]
    assert schema["properties"]["file"] == {"type": "string", "format": "binary"}
    assert schema["properties"]["response_format"]["enum"] == [
        "json", "text", "srt", "vtt", "verbose_json"
    ]  # fmt: skip
    described = page.partition(f"POST {path}<")[2].partition("</details>")[0]
    assert "timestamp_granularities[]" in described
