"""The engine process on the numpy backend: the same loop, with no model file and no llama.cpp.

The toy's answer follows from every token before it, so a wrong cell would be a wrong answer.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon, wait_until
from umad.client import Client
from umad.embedding import EmbedRequest
from umad.request import GenerateRequest
from umad.testing.numpy_backend import ToyModel
from umad.testing.toy_tokens import FIRST_STATE, next_state, toy_logits

PROMPT = "def area(width, height):"


def expected(prompt: str, n_tokens: int) -> list[int]:
    """The toy's greedy answer, computed here from its definition."""
    state = FIRST_STATE
    for token in prompt.encode():
        state = next_state(state, token)
    answer = []
    for _ in range(n_tokens):
        answer.append(int(toy_logits([state])[0].argmax()))
        state = next_state(state, answer[-1])
    return answer


def toy(folder: Path, *, step_ms: float = 0.0, row_ms: float = 0.0) -> str:
    return str(ToyModel(step_ms=step_ms, row_ms=row_ms).write(folder / "toy.json"))


def ask(daemon: LiveDaemon, requests: Sequence[GenerateRequest]) -> list[list[int]]:
    async def run() -> list[Stream]:
        async with daemon.client() as client:
            return await asyncio.gather(*(collect(client, request) for request in requests))

    return [stream.ids for stream in asyncio.run(run())]


def test_the_engine_answers_what_the_toy_defines(short_tmp_path: Path) -> None:
    with live_daemon(short_tmp_path, toy(short_tmp_path), "--backend", "numpy") as daemon:
        (answer,) = ask(daemon, [greedy(PROMPT, 40)])
        (engine,) = daemon.engines()
        maps = Path(f"/proc/{engine.pid}/maps")
        libraries = maps.read_text() if maps.exists() else ""

    assert answer == expected(PROMPT, 40)
    assert "libllama" not in libraries, "llama.cpp is not even loaded"


def test_streams_beside_each_other_answer_as_alone(short_tmp_path: Path) -> None:
    prompts = [f"{PROMPT}\n    # {n}" for n in range(12)]
    with live_daemon(short_tmp_path, toy(short_tmp_path), "--backend", "numpy") as daemon:
        answers = ask(daemon, [greedy(one, 60) for one in prompts])

    assert answers == [expected(one, 60) for one in prompts]


def test_prefixes_are_shared_and_conversations_parked_without_a_wrong_token(
    short_tmp_path: Path,
) -> None:
    arguments = ("--backend", "numpy", "--ctx-size", "2048")
    said = PROMPT * 20
    # Reading a prompt takes time, so parking it is worth a copy.
    with live_daemon(short_tmp_path, toy(short_tmp_path, row_ms=0.3), *arguments) as daemon:
        for turn in range(3):
            for chat in range(6):
                prompt = f"{chat}{said}" + "and " * turn
                (answer,) = ask(daemon, [greedy(prompt, 20, session=f"chat{chat}")])
                assert answer == expected(prompt, 20)
        metrics = daemon.metrics()

    assert metrics["prefix_hit_ratio"] > 0.3
    assert metrics["parked"] > 0


def test_a_killed_engine_goes_on_where_it_was(short_tmp_path: Path) -> None:
    async def run(daemon: LiveDaemon) -> list[Stream]:
        streams = [Stream() for _ in range(4)]
        async with daemon.client() as client:
            tasks = [
                asyncio.create_task(collect(client, greedy(f"{PROMPT}{n}", 200), stream))
                for n, stream in enumerate(streams)
            ]
            await asyncio.gather(*(stream.enough.wait() for stream in streams))
            (engine,) = daemon.engines()
            os.kill(engine.pid, signal.SIGKILL)
            return list(await asyncio.gather(*tasks))

    model = toy(short_tmp_path, step_ms=2.0)
    with live_daemon(short_tmp_path, model, "--backend", "numpy") as daemon:
        streams = asyncio.run(run(daemon))

    assert [one.ids for one in streams] == [expected(f"{PROMPT}{n}", 200) for n in range(4)]


def test_an_interactive_request_cuts_a_long_background_step(short_tmp_path: Path) -> None:
    questions = [f"{PROMPT}\n    # {n}" for n in range(20)]

    async def run(daemon: LiveDaemon) -> tuple[list[Stream], Stream, int]:
        long = greedy("x" * 4_000, 5, lane="background")
        async with daemon.client() as client:
            background = asyncio.create_task(collect(client, long))
            await asyncio.to_thread(
                wait_until, lambda: daemon.metrics()["kv_cells_used"] > 0, what="a first slice"
            )
            # An arrival finds a slice under way all but surely; the test needs one that does.
            answers: list[Stream] = []
            cuts = 0
            while not cuts and len(answers) < len(questions):
                answers.append(await collect(client, greedy(questions[len(answers)], 3)))
                cuts = (await asyncio.to_thread(daemon.metrics))["cuts"]
            return answers, await background, cuts

    model = toy(short_tmp_path, row_ms=1.0)
    with live_daemon(short_tmp_path, model, "--backend", "numpy") as daemon:
        answers, background, cuts = asyncio.run(run(daemon))

    asked = questions[: len(answers)]
    assert [one.ids for one in answers] == [expected(one, 3) for one in asked]
    assert background.ids == expected("x" * 4_000, 5)
    assert cuts > 0


def test_texts_become_vectors(short_tmp_path: Path) -> None:
    with (
        live_daemon(short_tmp_path, toy(short_tmp_path), "--backend", "numpy") as daemon,
        Client(daemon.socket) as client,
    ):
        found = client.embed(EmbedRequest(inputs=("one text", "another text", "one text")))

    vectors = np.array(found.vectors)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(vectors[0], vectors[2])
    assert not np.array_equal(vectors[0], vectors[1])


def test_a_file_that_is_no_toy_is_refused_in_one_line(short_tmp_path: Path) -> None:
    wrong = short_tmp_path / "wrong.json"
    wrong.write_text("[1, 2]")

    command = [sys.executable, "-m", "umad", "serve", str(wrong), "--backend", "numpy"]
    ended = subprocess.run(
        [*command, "--socket", str(short_tmp_path / "u.sock")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert "is no model of the numpy backend" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
