"""The `openai` package with recordings, as its own pages call it, against a real gateway with
whisper.cpp and random weights. What is in the answers: tests/gateway/test_audio.py.
"""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import AudioModel

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.speech.recordings import noise
from umad.testing.whisper_file import write_whisper

SPEECH = "whisper-tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("transcriptions")
    write_whisper(path / "ggml-tiny.bin", multilingual=True)
    noise(path / "speech.mp3", 3.0)
    return path


@pytest.fixture(scope="module")
def hearing(folder: Path) -> Iterator[LiveGateway]:
    with live_gateway(folder, "nano", str(folder / "ggml-tiny.bin")) as one:
        yield one


@pytest.fixture(scope="module")
def client(hearing: LiveGateway) -> Iterator[OpenAI]:
    base = f"{hearing.address}/v1"
    with OpenAI(base_url=base, api_key="none", max_retries=0, timeout=90) as one:
        yield one


@pytest.fixture(scope="module")
def text(client: OpenAI, folder: Path) -> str:
    """What is heard in English."""
    found = client.audio.transcriptions.create(
        model=SPEECH, file=folder / "speech.mp3", language="en"
    )
    return found.text


@pytest.mark.parametrize("model", get_args(AudioModel))
def test_every_name_of_openais_models_means_the_one_that_is_here(
    client: OpenAI, folder: Path, text: str, model: str
) -> None:
    found = client.audio.transcriptions.create(
        model=model, file=folder / "speech.mp3", language="en"
    )

    assert text
    assert found.text == text


def test_a_file_is_a_path_an_open_file_bytes_or_a_named_triple(
    client: OpenAI, folder: Path, text: str
) -> None:
    path = folder / "speech.mp3"
    named = io.BytesIO(path.read_bytes())
    named.name = "speech.mp3"
    with path.open("rb") as opened:
        forms: list[Any] = [
            path,
            opened,
            path.read_bytes(),
            named,
            ("speech.mp3", path.read_bytes(), "audio/mpeg"),
        ]
        texts = [
            client.audio.transcriptions.create(model=SPEECH, file=one, language="en").text
            for one in forms
        ]

    assert texts == [text] * len(forms)


def test_what_only_openais_models_have_is_taken_and_has_no_effect(
    client: OpenAI, folder: Path, text: str
) -> None:
    found = client.audio.transcriptions.create(
        model="gpt-4o-transcribe",
        file=folder / "speech.mp3",
        language="en",
        response_format="json",
        include=["logprobs"],
        chunking_strategy={"type": "server_vad", "silence_duration_ms": 200},
    )

    assert found.text == text


def test_words_to_expect_and_one_possible_language_are_heeded(
    client: OpenAI, folder: Path, text: str
) -> None:
    """As `gpt-transcribe` is asked. Random weights say something else behind other words."""
    path = folder / "speech.mp3"

    one = client.audio.transcriptions.create(model=SPEECH, file=path, languages=["en"])
    guided = client.audio.transcriptions.create(
        model=SPEECH, file=path, languages=["en"], keywords=["Zyntrix", "umad"]
    )
    same = client.audio.transcriptions.create(
        model=SPEECH, file=path, language="en", prompt="Zyntrix, umad"
    )

    assert one.text == text
    assert guided.text == same.text != text


def test_several_possible_languages_leave_the_choice_to_the_model(
    client: OpenAI, folder: Path
) -> None:
    path = folder / "speech.mp3"

    found = client.audio.transcriptions.create(model=SPEECH, file=path, languages=["de", "en"])

    assert found.text == client.audio.transcriptions.create(model=SPEECH, file=path).text


# OpenAI's package says so of translations.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("form", ["json", "text", "srt", "vtt", "verbose_json"])
def test_a_translation_comes_in_every_format(client: OpenAI, folder: Path, form: Any) -> None:
    found = client.audio.translations.create(
        model="whisper-1", file=folder / "speech.mp3", response_format=form, prompt="In a café"
    )

    said = found if isinstance(found, str) else found.text
    assert said.strip()
    assert ("-->" in said) == (form in ("srt", "vtt"))


def test_an_asynchronous_client_reads_a_stream(
    hearing: LiveGateway, folder: Path, text: str
) -> None:
    async def ask() -> list[Any]:
        base = f"{hearing.address}/v1"
        async with AsyncOpenAI(base_url=base, api_key="none", max_retries=0, timeout=90) as one:
            stream = await one.audio.transcriptions.create(
                model="gpt-4o-mini-transcribe",
                file=folder / "speech.mp3",
                language="en",
                response_format="text",
                stream=True,
            )
            return [event async for event in stream]

    *deltas, done = asyncio.run(ask())

    assert done.type == "transcript.text.done"
    assert done.text == text
    assert "".join(one.delta for one in deltas).strip() == text


def test_who_speaks_is_not_told_and_said_so(client: OpenAI, folder: Path) -> None:
    with pytest.raises(openai.BadRequestError, match="json, text, srt") as refused:
        client.audio.transcriptions.create(
            model="gpt-4o-transcribe-diarize",
            file=folder / "speech.mp3",
            response_format="diarized_json",
            chunking_strategy="auto",
        )

    assert refused.value.param == "response_format"
