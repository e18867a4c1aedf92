"""`umad launch`: an agent starts with all it needs to talk to umad, or it is said why not."""

import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.gateways import LiveGateway, live_gateway
from umad.cli.agent_files import AGENT_FILES, OTHER_DIALECTS
from umad.cli.agents import AGENTS, Target, too_small
from umad.cli.launch import _check_gateway, environment
from umad.errors import BadConfig

TARGET = Target(url="http://127.0.0.1:8080", model="nano", key="secret", cells=4096)
FAKE = """#!{python}
import json, os, sys
print(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}))
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("launch")) as one:
        yield one


def install(folder: Path, name: str) -> Path:
    """A program that tells how it was started."""
    program = folder / name
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def launch(
    gateway: LiveGateway, *arguments: str, path: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """`umad launch ARGUMENTS` with only `path` to find programs in."""
    command = [sys.executable, "-m", "umad", "launch"]
    command += [f"--socket={gateway.daemon.socket}", f"--url={gateway.address}", *arguments]
    kept = {name: value for name, value in os.environ.items() if name != "UMAD_API_KEY"}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**kept, "PATH": str(path), **variables},
    )


def test_every_agent_is_told_the_address_the_key_and_the_model() -> None:
    for agent in AGENTS.values():
        setting = agent.setting(TARGET)
        said = json.dumps([dict(setting.variables), setting.arguments])

        assert TARGET.url in said
        assert TARGET.key in said
        assert TARGET.model in said


def test_a_key_for_the_cloud_is_not_left_for_an_agent_to_prefer() -> None:
    setting = AGENTS["claude"].setting(TARGET)

    found = environment(setting, {"ANTHROPIC_API_KEY": "cloud", "HOME": "/home/me"})

    assert "ANTHROPIC_API_KEY" not in found
    assert found["HOME"] == "/home/me"
    assert found["ANTHROPIC_AUTH_TOKEN"] == "secret"


@pytest.mark.parametrize(
    ("agent", "cells", "trained", "said"),
    [
        pytest.param(
            "claude",
            8192,
            131_072,
            "claude sends about 24,000 tokens before you have said anything, and nano has a "
            "context of 8,192: start the daemon with --ctx-size 65536",
            id="the default of umad serve",
        ),
        pytest.param(
            "codex",
            8192,
            4096,
            "codex sends about 13,000 tokens before you have said anything, and nano has a "
            "context of 8,192: start the daemon with --ctx-size 65536 and a longer model (nano was "
            "trained on 4,096)",
            id="a model that cannot have more",
        ),
        pytest.param(
            "opencode",
            12_288,
            0,
            "opencode sends about 11,000 tokens before you have said anything, and nano has a "
            "context of 12,288: start the daemon with --ctx-size 65536",
            id="no room left for an answer",
        ),
        pytest.param("claude", 32_768, 0, None, id="enough for Claude Code"),
        pytest.param("aider", 8192, 0, None, id="enough for aider"),
        pytest.param("claude", 0, 0, None, id="a context nobody knows"),
    ],
)
def test_a_context_smaller_than_the_agents_own_prompt_is_told_with_what_to_set(
    agent: str, cells: int, trained: int, said: str | None
) -> None:
    target = Target(url="http://127.0.0.1:8080", model="nano", key="k", cells=cells)

    assert too_small(agent, target, trained) == said


def test_every_agent_has_room_in_the_context_that_it_is_advised() -> None:
    for name, agent in AGENTS.items():
        target = Target(url="http://x", model="m", key="k", cells=agent.wants_cells)

        assert too_small(name, target, 0) is None


def test_the_warning_is_given_and_the_agent_starts(running: LiveGateway, tmp_path: Path) -> None:
    path = install(tmp_path, "claude")

    started = launch(running, "claude", path=path)
    printed = launch(running, "--print", "claude", path=path)

    for done in (started, printed):
        assert done.returncode == 0
        assert done.stderr.startswith("umad: claude sends about 24,000 tokens")
        assert "--ctx-size 65536" in done.stderr
    assert json.loads(started.stdout)["environment"]["ANTHROPIC_MODEL"] == "nano"
    assert printed.stdout.splitlines()[-1] == "claude"


def test_an_agent_starts_with_its_own_arguments_and_umads_environment(
    running: LiveGateway, tmp_path: Path
) -> None:
    path = install(tmp_path, "claude")

    done = launch(running, "claude", "--continue", "-p", "hello", path=path, UMAD_API_KEY="mine")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["arguments"] == ["--continue", "-p", "hello"]
    assert told["environment"]["ANTHROPIC_BASE_URL"] == running.address
    assert told["environment"]["ANTHROPIC_MODEL"] == "nano"
    assert told["environment"]["ANTHROPIC_AUTH_TOKEN"] == "mine"


def test_codex_gets_its_provider_as_arguments_before_the_users(
    running: LiveGateway, tmp_path: Path
) -> None:
    path = install(tmp_path, "codex")

    done = launch(running, "codex", "exec", "hello", path=path)

    assert done.returncode == 0, done.stderr
    arguments = json.loads(done.stdout)["arguments"]
    assert arguments[-2:] == ["exec", "hello"]
    assert f'model_providers.umad.base_url="{running.address}/v1"' in arguments
    assert 'model_provider="umad"' in arguments


def test_an_agent_that_is_not_installed_is_named_with_how_to_install_it(
    running: LiveGateway, tmp_path: Path
) -> None:
    done = launch(running, "claude", path=tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith("umad: claude is not installed")
    assert "npm install -g @anthropic-ai/claude-code" in done.stderr


def test_without_a_gateway_the_agent_is_not_started(running: LiveGateway, tmp_path: Path) -> None:
    path = install(tmp_path, "claude")

    done = launch(running, "--url=http://127.0.0.1:9", "claude", path=path)

    assert done.returncode == 3
    assert done.stdout == ""
    assert "umad serve --http" in done.stderr


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999", "http://127.0.0.1:x", "http://[::1", "ftp://host", "host"]
)
def test_what_is_no_address_is_refused_as_one(url: str) -> None:
    with pytest.raises(BadConfig, match="is no address; write one like"):
        _check_gateway(url)


def test_an_unknown_model_is_refused_with_the_names_there_are(
    running: LiveGateway, tmp_path: Path
) -> None:
    done = launch(running, "--model=nono", "claude", path=install(tmp_path, "claude"))

    assert done.returncode == 1
    assert "nano" in done.stderr


def test_what_would_be_set_can_be_printed_for_a_shell(running: LiveGateway, tmp_path: Path) -> None:
    done = launch(running, "--print", "opencode", path=tmp_path)

    assert done.returncode == 0
    assert "export OPENCODE_CONFIG_CONTENT=" in done.stdout
    assert done.stdout.splitlines()[-1] == "opencode"


def test_qwen_is_told_to_use_what_the_variables_say_and_not_what_was_chosen_once() -> None:
    setting = AGENTS["qwen"].setting(TARGET)

    assert setting.arguments == ("--auth-type", "openai", "--model", "nano")
    assert setting.variables["OPENAI_BASE_URL"] == "http://127.0.0.1:8080/v1"


def test_goose_gets_host_and_path_apart_and_no_address_that_would_go_before_them() -> None:
    setting = AGENTS["goose"].setting(TARGET)

    assert setting.variables["OPENAI_HOST"] == "http://127.0.0.1:8080"
    assert setting.variables["OPENAI_BASE_PATH"] == "v1/chat/completions"
    assert setting.variables["GOOSE_CONTEXT_LIMIT"] == "4096"
    assert "OPENAI_BASE_URL" in setting.without


@pytest.mark.parametrize("cells", [0, 4096, 65_536])
def test_what_a_file_needs_has_the_address_the_model_and_no_key(cells: int) -> None:
    target = Target(url="http://127.0.0.1:8080", model="nano", key="secret", cells=cells)

    for name, file in AGENT_FILES.items():
        text = file.text(target)
        assert "http://127.0.0.1:8080/v1" in text, name
        assert "nano" in text, name
        assert "secret" not in text, name
        if name != "crush":
            json.loads(text)


def test_a_models_name_stays_one_word_in_crushs_shell() -> None:
    target = Target(url="http://127.0.0.1:8080", model="a $(b) 'c'", key="k", cells=4096)

    text = AGENT_FILES["crush"].text(target)

    assert shlex.split(text.splitlines()[1])[2] == "umad/a $(b) 'c'"


def test_a_program_with_a_file_of_its_own_is_not_started_and_its_file_is_printed(
    running: LiveGateway, tmp_path: Path
) -> None:
    path = install(tmp_path, "zed")

    refused = launch(running, "zed", path=path)
    printed = launch(running, "--print", "zed", path=path)

    assert refused.returncode == 1
    assert "umad launch --print zed prints what to put there" in refused.stderr
    assert refused.stdout == ""
    assert printed.returncode == 0
    settings = json.loads(printed.stdout)
    provider = settings["language_models"]["openai_compatible"]["umad"]
    assert provider["api_url"] == f"{running.address}/v1"
    assert provider["available_models"][0]["name"] == "nano"
    assert provider["available_models"][0]["max_tokens"] > 0
    assert "settings.json" in printed.stderr


def test_a_program_that_speaks_another_dialect_is_refused_with_one_that_does_not(
    running: LiveGateway, tmp_path: Path
) -> None:
    for name in OTHER_DIALECTS:
        for arguments in ((name,), ("--print", name)):
            refused = launch(running, *arguments, path=tmp_path)

            assert refused.returncode == 1
            assert refused.stderr.startswith(f"umad: {name} speaks ")
            assert "umad launch qwen" in refused.stderr
