"""Lists the variables and arguments that make each agent talk to umad. Pure.

Every agent gets the gateway's address, a key (agents insist on one; without `UMAD_API_KEY` the key
means nothing) and one local model for all its roles. The small models that agents ask for titles
and summaries do not exist here. Not: starting agents (`umad.cli.launch`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

KEY_VARIABLE = "UMAD_API_KEY"
# Agents leave this much of the context for an answer.
_ANSWER_TOKENS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The gateway and the model that an agent is to use."""

    # The gateway's address, without a slash at its end.
    url: str
    model: str
    key: str
    # The size of the model's context; 0 where that is not known.
    cells: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The variables and arguments to start an agent with."""

    variables: Mapping[str, str]
    # They go before the user's own.
    arguments: tuple[str, ...] = ()
    # Variables that the agent must not find in its environment.
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """How to find and start one agent."""

    # Its name on the PATH.
    program: str
    # The command that installs it.
    install: str
    setting: Callable[[Target], Setting] = field(repr=False)


def _claude(target: Target) -> Setting:
    """https://code.claude.com/docs/en/llm-gateway"""
    models = ("MODEL", "DEFAULT_OPUS_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_HAIKU_MODEL")
    variables = {f"ANTHROPIC_{name}": target.model for name in models} | {
        "ANTHROPIC_BASE_URL": target.url,
        "ANTHROPIC_AUTH_TOKEN": target.key,
        "CLAUDE_CODE_SUBAGENT_MODEL": target.model,
        # This traffic does not go to umad, and the machine may have no network.
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    return Setting(variables=variables, without=("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"))


def _codex(target: Target) -> Setting:
    """Codex has no variable for an address: the same keys as in its config.toml, as arguments."""
    provider = {
        "name": "umad",
        "base_url": f"{target.url}/v1",
        "env_key": KEY_VARIABLE,
        "wire_api": "responses",
    }
    settings = {"model": target.model, "model_provider": "umad"}
    settings |= {f"model_providers.umad.{key}": value for key, value in provider.items()}
    arguments: list[str] = []
    for key, value in settings.items():
        arguments += ("-c", f"{key}={json.dumps(value)}")  # a JSON string is a TOML string
    if target.cells:
        arguments += ("-c", f"model_context_window={target.cells}")
    return Setting(variables={KEY_VARIABLE: target.key}, arguments=tuple(arguments))


def _opencode(target: Target) -> Setting:
    """https://opencode.ai/docs/providers, the custom provider; as a variable, not as a file."""
    model: dict[str, object] = {"name": target.model, "tool_call": True}
    if target.cells:
        output = min(_ANSWER_TOKENS, target.cells // 2)
        model["limit"] = {"context": target.cells, "output": output}
    name = f"umad/{target.model}"
    config = {
        "$schema": "https://opencode.ai/config.json",
        "model": name,
        "small_model": name,
        "provider": {
            "umad": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "umad",
                "options": {"baseURL": f"{target.url}/v1", "apiKey": target.key},
                "models": {target.model: model},
            }
        },
    }
    return Setting(variables={"OPENCODE_CONFIG_CONTENT": json.dumps(config)})


def _aider(target: Target) -> Setting:
    """https://aider.chat/docs/llms/openai-compat.html"""
    name = f"openai/{target.model}"
    return Setting(
        variables={
            "OPENAI_API_BASE": f"{target.url}/v1",
            "OPENAI_API_KEY": target.key,
            "AIDER_MODEL": name,
            "AIDER_WEAK_MODEL": name,
            "AIDER_EDITOR_MODEL": name,
            "AIDER_SHOW_MODEL_WARNINGS": "false",
            # The machine may have no network to fetch prices from.
            "LITELLM_LOCAL_MODEL_COST_MAP": "true",
        }
    )


AGENTS: Mapping[str, Agent] = {
    "claude": Agent(
        program="claude", install="npm install -g @anthropic-ai/claude-code", setting=_claude
    ),
    "codex": Agent(program="codex", install="npm install -g @openai/codex", setting=_codex),
    "opencode": Agent(program="opencode", install="npm install -g opencode-ai", setting=_opencode),
    "aider": Agent(program="aider", install="pipx install aider-chat", setting=_aider),
}
