"""Which words of `umad run` are models: presets and aliases of the user's own file among them."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Fakes, Umad
from umad.cli.stream import stream
from umad.request import GenerateRequest


@pytest.fixture
def users_file(asking: Umad, fakes: Fakes) -> Path:
    path = Path(os.environ["HOME"]) / ".config" / "umad" / "models.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "presets:\n"
        "  reviewer:\n"
        "    model: m\n"
        "    system: Be brief.\n"
        "    sampling: {max_tokens: 3, temperature: 0.5}\n"
        "    lane: background\n"
    )
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[GenerateRequest]:
    """The requests that the command sends."""
    from umad.cli import run  # noqa: PLC0415

    sent: list[GenerateRequest] = []
    real = stream

    async def noted(client: object, request: GenerateRequest, *, as_json: bool) -> None:
        sent.append(request)
        await real(client, request, as_json=as_json)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "stream", noted)
    return sent


def test_a_preset_is_a_model_with_its_system_prompt_sampling_and_lane(
    asking: Umad, users_file: Path, asked: list[GenerateRequest]
) -> None:
    ended = asking("run", "reviewer", "look at this", "--json")

    assert (ended.code, ended.err) == (0, "")
    (request,) = asked
    assert request.model == "m"
    assert request.lane == "background"
    assert (request.sampling.max_tokens, request.sampling.temperature) == (3, 0.5)
    assert request.messages is not None
    assert [(one.role, one.content) for one in request.messages] == [
        ("system", "Be brief."),
        ("user", "look at this"),
    ]
    assert json.loads(ended.out.splitlines()[-1])["usage"]["completion_tokens"] == 3


def test_what_is_said_on_the_command_line_goes_before_the_preset(
    asking: Umad, users_file: Path, asked: list[GenerateRequest]
) -> None:
    line = ("--system", "Be long.", "--max-tokens", "2", "--lane", "interactive")
    ended = asking("run", "reviewer", "look", *line)

    assert ended.code == 0
    (request,) = asked
    assert (request.lane, request.sampling.max_tokens) == ("interactive", 2)
    assert request.sampling.temperature == 0.5
    assert request.messages is not None
    assert request.messages[0].content == "Be long."


def test_a_preset_with_a_slip_of_the_pen_is_named_with_its_line(
    asking: Umad, users_file: Path
) -> None:
    users_file.write_text("presets:\n  reviewer: {modell: m}\n")

    ended = asking("run", "reviewer", "look")

    assert ended.code == 2
    assert f"{users_file}:2: presets.reviewer: unknown key 'modell'" in ended.err


def test_a_name_that_umad_could_fetch_is_no_prompt(asking: Umad) -> None:
    ended = asking("run", "qwen3-coder:30b")

    assert ended.code == 1
    assert ended.out == ""
    assert "no model is called 'qwen3-coder:30b'" in ended.err, "this daemon has no catalogue"


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("hf:org/Fox-GGUF", "fetch it: umad pull hf:org/Fox-GGUF"),
        ("hf:org/Fox-GGUF:Q8_0", "fetch it: umad pull hf:org/Fox-GGUF:Q8_0"),
        ("HF:org/Fox-GGUF", "fetch it: umad pull hf:org/Fox-GGUF"),
        ("ollama:fox", "fetch it: umad pull ollama:fox"),
        ("qwen3.5", "no model is called 'qwen3.5'"),
    ],
)
def test_a_reference_and_a_family_of_models_are_no_prompts(
    asking: Umad, word: str, words: str
) -> None:
    ended = asking("run", word)

    assert (ended.code, ended.out) == (1, "")
    assert words in ended.err


@pytest.mark.parametrize("word", ["and/or", "https://example.com/page", "hello"])
def test_a_word_that_may_be_a_prompt_is_one(
    asking: Umad, word: str, asked: list[GenerateRequest]
) -> None:
    ended = asking("run", "--max-tokens", "1", word)

    assert ended.code == 0
    (request,) = asked
    assert word in (request.prompt, *(one.content for one in request.messages or ()))
