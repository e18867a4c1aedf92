"""Recordings for models of chats that hear: text alone, and what needs times is refused.

The projector has random weights, so what it hears is nonsense, the same each time.
"""

import base64
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, BadRequestError, OpenAI

from tests.engine.projector_files import write_ultravox
from tests.gateway.gateways import LiveGateway, live_gateway
from tests.speech.recordings import noise
from umad.testing.whisper_file import write_whisper

SPEECH = "whisper-tiny.en"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Short, for the socket's sake.
    path = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    write_whisper(path / "ggml-tiny.en.bin")
    write_ultravox(path / "mmproj-nano.gguf")
    noise(path / "a.wav", 2.0)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[LiveGateway]:
    arguments = ("nano", str(folder / "ggml-tiny.en.bin"), "--ctx-size", "4096")
    projector = ("--mmproj", str(folder / "mmproj-nano.gguf"), "--max-tokens", "24")
    with live_gateway(folder, *arguments, *projector) as one:
        yield one


@pytest.fixture(scope="module")
def openai(gateway: LiveGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.address}/v1", api_key="none", max_retries=0, timeout=90) as one:
        yield one


_BEGINNING = 20


def asked(openai: OpenAI, folder: Path, words: str) -> str:
    """How a chat with these words and the recording begins its answer. The second of two equal
    requests finds the first's cells, so their last bits and their later words may differ.
    """
    data = base64.b64encode((folder / "a.wav").read_bytes()).decode()
    content: Any = [
        {"type": "text", "text": words},
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
    ]
    answer = openai.chat.completions.create(
        model="nano", messages=[{"role": "user", "content": content}], temperature=0
    )
    return (answer.choices[0].message.content or "").strip()[:_BEGINNING]


def test_a_model_of_chats_that_hears_is_asked_in_words_and_answers_with_its_text(
    openai: OpenAI, folder: Path
) -> None:
    found = openai.audio.transcriptions.create(
        model="nano", file=folder / "a.wav", language="en", prompt="Dickens"
    )

    said = "Transcribe audio to text (language: english). Names and spellings that occur in it: "
    assert found.text
    assert found.text[:_BEGINNING] == asked(openai, folder, f"{said}Dickens")
    assert found.usage is not None
    assert found.usage.type == "tokens"
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens > 0


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_translation_is_asked_for_as_one(openai: OpenAI, folder: Path) -> None:
    found = openai.audio.translations.create(model="nano", file=folder / "a.wav")

    assert found.text[:_BEGINNING] == asked(openai, folder, "Translate audio to English text")


def test_its_text_comes_as_it_is_written(openai: OpenAI, folder: Path) -> None:
    with openai.audio.transcriptions.create(
        model="nano", file=folder / "a.wav", stream=True
    ) as stream:
        *deltas, done = stream

    assert done.type == "transcript.text.done"
    assert "".join(one.delta for one in deltas if one.type == "transcript.text.delta") == done.text
    assert len(deltas) > 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"response_format": "srt"}, "response_format"),
        ({"response_format": "vtt"}, "response_format"),
        ({"response_format": "verbose_json"}, "response_format"),
        (
            {"response_format": "verbose_json", "timestamp_granularities": ["word"]},
            "timestamp_granularities",
        ),
    ],
)
def test_what_needs_times_is_refused_by_its_field(
    openai: OpenAI, folder: Path, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadRequestError, match="knows no times") as refused:
        openai.audio.transcriptions.create(model="nano", file=folder / "a.wav", **fields)

    assert refused.value.param == field


def test_what_is_no_sound_is_refused_as_the_file(openai: OpenAI) -> None:
    with pytest.raises(APIStatusError) as refused:
        openai.audio.transcriptions.create(model="nano", file=("a.wav", b"%PDF-1.7" + bytes(500)))

    assert refused.value.param == "file"
    assert refused.value.status_code == 415


def test_openais_own_name_means_the_whisper_model(openai: OpenAI, folder: Path) -> None:
    found = openai.audio.transcriptions.create(
        model="whisper-1", file=folder / "a.wav", response_format="verbose_json"
    )

    assert found.duration == 2.0


def test_the_list_of_models_tells_what_each_is_for_and_takes(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        models = {one["id"]: one for one in http.get("/v1/models").json()["data"]}

    assert models["nano"]["kind"] == "text"
    assert models["nano"]["architecture"]["input_modalities"] == ["text", "audio"]
    assert models[SPEECH]["kind"] == "speech"
    assert models[SPEECH]["architecture"]["input_modalities"] == ["audio"]
