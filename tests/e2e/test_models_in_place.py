"""Models of other programs, served by a real engine where they lie, and left as they were."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.live import collect, greedy, live_daemon
from tests.models import trees
from umad import nano
from umad.client import AsyncClient

N_TOKENS = 8
PROMPT = "def fibonacci(n):"


CODER = "Qwen3-Coder-30B-A3B-Instruct-Q4_K_M"
REPOSITORY = "unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF"


def test_a_model_of_every_place_is_served_where_it_lies_and_nothing_there_changes(
    short_tmp_path: Path,
) -> None:
    home = short_tmp_path / "home"
    environ = dict(trees.machine(home, nano.path().read_bytes()))
    environ |= {"UMAD_MODELS": str(short_tmp_path / "store")}
    hub = home / ".cache" / "huggingface" / "hub"
    trees.hub_cache(hub, REPOSITORY, {f"{CODER}.gguf": nano.path().read_bytes()})
    before = trees.digest_of(home)
    by_reference = ("qwen3-coder:30b", f"hf:{REPOSITORY}")

    # The first one is loaded at start by its name in the catalogue.
    with live_daemon(short_tmp_path, by_reference[0], environment=environ) as daemon:
        answers = asyncio.run(answers_of(daemon.client(), ("nano", *trees.NAMES, *by_reference)))
        loaded = {row["name"]: row["path"] for row in asyncio.run(listed(daemon.client()))}
    used = json.loads(umad_ls(environ))

    assert len(answers["nano"]) == N_TOKENS
    assert set(map(tuple, answers.values())) == {tuple(answers["nano"])}
    assert set(loaded) == {"nano", CODER, *trees.NAMES}
    assert all(loaded[name].startswith(str(home)) for name in (CODER, *trees.NAMES))
    assert trees.digest_of(home) == before
    assert {one["name"] for one in used if one["last_used_s"]} == {CODER, *trees.NAMES}


async def answers_of(client: AsyncClient, names: tuple[str, ...]) -> dict[str, list[int]]:
    """The tokens of one answer of each model, which is loaded by its name first."""
    answers = {}
    async with client:
        for name in names:
            await client.load(name)
            stream = await collect(client, greedy(PROMPT, N_TOKENS, model=name))
            answers[name] = stream.ids
    return answers


async def listed(client: AsyncClient) -> list[dict[str, str]]:
    async with client:
        return [dict(row) for row in await client.models()]


def umad_ls(environ: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "umad", "ls", "--json"],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
