"""Writes down what programs need that take an address only from a file of their own.

`umad launch --print PROGRAM` prints it, filled in with the gateway's address and the model. umad
writes no other program's files: those are a person's own, with more in them than this.
Pure. Not: programs that are told by variables and arguments (`umad.cli.agents`).
"""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from umad.cli.agents import Target

# A context that a program must be told and that is not known.
_SOME_TOKENS = 32_768
_ANSWER_TOKENS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFile:
    """What one program needs in one of its files."""

    # Where the file is, in words for a person.
    file: str
    # The text to put there.
    text: Callable[[Target], str] = field(repr=False)
    # What to do then. No key is in the text: it is where the program keeps its keys.
    then: str


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _zed(target: Target) -> str:
    """https://zed.dev/docs/ai/use-api-access"""
    model = {
        "name": target.model,
        "display_name": target.model,
        "max_tokens": target.cells or _SOME_TOKENS,
        "capabilities": {
            "tools": True,
            "images": False,
            "parallel_tool_calls": True,
            "prompt_cache_key": False,
        },
    }
    provider = {"api_url": f"{target.url}/v1", "available_models": [model]}
    return _json(
        {
            "language_models": {"openai_compatible": {"umad": provider}},
            "agent": {"default_model": {"provider": "umad", "model": target.model}},
        }
    )


def _code(target: Target) -> str:
    """https://code.visualstudio.com/docs/agent-customization/language-models, a custom endpoint"""
    cells = target.cells or _SOME_TOKENS
    answer = min(_ANSWER_TOKENS, cells // 2)
    model = {
        "id": target.model,
        "name": target.model,
        "url": f"{target.url}/v1/chat/completions",
        "toolCalling": True,
        "vision": False,
        "maxInputTokens": cells - answer,
        "maxOutputTokens": answer,
    }
    return _json(
        [
            {
                "name": "umad",
                "vendor": "customendpoint",
                "apiKey": "umad",
                "apiType": "chat-completions",
                "models": [model],
            }
        ]
    )


def _crush(target: Target) -> str:
    """https://github.com/charmbracelet/crush/blob/main/docs/config/README.md"""
    provider = [
        *("provider", "add", "umad", "--name", "umad", "--type", "openai-compat"),
        *("--base-url", f"{target.url}/v1"),
    ]
    model = [
        *("model", "add", f"umad/{target.model}", "--name", target.model),
        *("--context-window", str(target.cells or _SOME_TOKENS)),
    ]
    # Its shell puts the key in, so the file has none.
    key = '--api-key "${UMAD_API_KEY:-umad}"'
    return f"{shlex.join(provider)} {key}\n{shlex.join(model)}"


AGENT_FILES: Mapping[str, AgentFile] = {
    "crush": AgentFile(
        file="~/.config/crush/crushrc",
        text=_crush,
        then="start crush; a gateway's key is taken from UMAD_API_KEY",
    ),
    "zed": AgentFile(
        file="Zed's settings.json (zed: open settings file)",
        text=_zed,
        then="start it with UMAD_API_KEY set, to anything where the gateway asks for no key",
    ),
    "code": AgentFile(
        file="chatLanguageModels.json (Chat: Manage Language Models, then Custom Endpoint)",
        text=_code,
        then="where the gateway asks for a key, enter it in that dialog and leave apiKey as it was",
    ),
}
# Programs that take an address and speak to it what no gateway of umad answers, and what to do.
OTHER_DIALECTS: Mapping[str, str] = {
    "gemini": "gemini speaks Google's API only, which umad's gateway does not answer; qwen is the "
    "same program for OpenAI's API: umad launch qwen",
}
