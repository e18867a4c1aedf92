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
    # Tokens of its first request: its own instructions and tools, before the user has said much.
    prompt_tokens: int
    # The context to work in that its makers, or those of local servers, advise.
    wants_cells: int


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


def _qwen(target: Target) -> Setting:
    """https://qwenlm.github.io/qwen-code-docs, OpenAI-compatible providers"""
    return Setting(
        variables={
            "OPENAI_BASE_URL": f"{target.url}/v1",
            "OPENAI_API_KEY": target.key,
            "OPENAI_MODEL": target.model,
        },
        # What was chosen in its dialog once would go before the variables.
        arguments=("--auth-type", "openai", "--model", target.model),
    )


def _goose(target: Target) -> Setting:
    """https://block.github.io/goose/docs/guides/environment-variables"""
    variables = {
        "GOOSE_PROVIDER": "openai",
        "GOOSE_MODEL": target.model,
        # Host and path are two settings; the host with a path in it makes addresses that are not
        # there.
        "OPENAI_HOST": target.url,
        "OPENAI_BASE_PATH": "v1/chat/completions",
        "OPENAI_API_KEY": target.key,
    }
    if target.cells:
        variables["GOOSE_CONTEXT_LIMIT"] = str(target.cells)
    return Setting(variables=variables, without=("OPENAI_BASE_URL",))


# 64k for agents with tools: https://ollama.com/blog/launch. 8k for aider:
# https://aider.chat/docs/llms/ollama.html. Their own prompts, as people measured them:
AGENTS: Mapping[str, Agent] = {
    "claude": Agent(
        program="claude",
        install="npm install -g @anthropic-ai/claude-code",
        setting=_claude,
        prompt_tokens=24_000,  # https://github.com/janhq/jan/issues/8108
        wants_cells=65_536,
    ),
    "codex": Agent(
        program="codex",
        install="npm install -g @openai/codex",
        setting=_codex,
        prompt_tokens=13_000,  # https://github.com/openai/codex/issues/19212
        wants_cells=65_536,
    ),
    "opencode": Agent(
        program="opencode",
        install="npm install -g opencode-ai",
        setting=_opencode,
        prompt_tokens=11_000,  # https://github.com/anomalyco/opencode/issues/8984
        wants_cells=65_536,
    ),
    "aider": Agent(
        program="aider",
        install="pipx install aider-chat",
        setting=_aider,
        prompt_tokens=4_000,  # its instructions and a map of the repository
        wants_cells=8_192,
    ),
    "qwen": Agent(
        program="qwen",
        install="npm install -g @qwen-code/qwen-code",
        setting=_qwen,
        # Not measured: it has the prompt and the tools of the program it was made from, as opencode
        # and Codex have theirs.
        prompt_tokens=12_000,
        wants_cells=65_536,
    ),
    "goose": Agent(
        program="goose",
        install="brew install block-goose-cli",
        setting=_goose,
        # Not measured: its own prompt and the tools of its developer extension.
        prompt_tokens=8_000,
        wants_cells=65_536,
    ),
}


def too_small(name: str, target: Target, trained_tokens: int) -> str | None:
    """What to set where the agent's own prompt does not fit into the model's context; else None.

    trained_tokens: the longest text that the model was trained on; 0 where that is not known.
    """
    agent = AGENTS[name]
    if not target.cells or target.cells >= agent.prompt_tokens + _ANSWER_TOKENS:
        return None
    advice = f"start the daemon with --ctx-size {agent.wants_cells}"
    if 0 < trained_tokens < agent.prompt_tokens:
        advice += f" and a longer model ({target.model} was trained on {trained_tokens:,})"
    return (
        f"{name} sends about {agent.prompt_tokens:,} tokens before you have said anything, and "
        f"{target.model} has a context of {target.cells:,}: {advice}"
    )
