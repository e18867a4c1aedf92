"""`umad ps` says whose prompts change early from turn to turn, and where."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence

from tests.live import LiveDaemon, collect, wait_until
from umad.request import GenerateRequest, SamplingParams

RULES = [100 + n * 7 % 4000 for n in range(900)]
HEAD = [200 + n * 11 % 4000 for n in range(213)]


def ask(daemon: LiveDaemon, app: str, ids: Sequence[int]) -> None:
    request = GenerateRequest(
        prompt_ids=tuple(ids),
        app=app,
        sampling=SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True),
    )

    async def asked() -> None:
        async with daemon.client() as client:
            await collect(client, request)

    asyncio.run(asked())


def ps(daemon: LiveDaemon, *flags: str) -> str:
    command = [sys.executable, "-m", "umad", "ps", "--socket", str(daemon.socket), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_app_with_the_time_in_its_prompt_is_named_with_the_token(daemon: LiveDaemon) -> None:
    for stamp in ([11, 12, 13, 14], [11, 12, 15]):
        ask(daemon, "clocked", [*HEAD, *stamp, *RULES])
        ask(daemon, "calm", [*HEAD, *RULES, *stamp])

    wait_until(lambda: "each turn" in ps(daemon), what="a line about the prompt")

    lines = [line for line in ps(daemon).splitlines() if "each turn" in line]
    assert lines == ["clocked: prompt changes at token 215 each turn (nano)"]
    (model,) = json.loads(ps(daemon, "--json"))["models"]
    assert model["prompt_changes"] == [{"app": "clocked", "token": 215}]
