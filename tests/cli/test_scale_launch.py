"""`umad scale launch`, `status` and `down`: without a cloud, and on this machine for real.

SkyPilot itself is asked in tests/sky.
"""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.cli.conftest import Umad
from tests.live import wait_until
from umad.scale.launch import sky_program

LAUNCH = ("scale", "launch", "Qwen/Qwen3-14B-FP8")


def test_print_shows_the_task_and_needs_no_skypilot(umad: Umad) -> None:
    ended = umad(*LAUNCH, "H100:1", "--offline", "--print", "--spot", "--infra", "aws")

    assert (ended.code, ended.err) == (0, "")
    task = yaml.safe_load(ended.out)
    assert task["name"] == "qwen3-14b-fp8"
    assert task["secrets"] == {"UMAD_KEYS": None}
    assert task["resources"]["any_of"][0]["accelerators"] == "H100:1"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((*LAUNCH, "H10O:1"), 2, "did you mean H100"),
        ((*LAUNCH, "H100:1", "--tp", "2"), 2, "tp 2 is above the 1 of H100:1"),
        ((*LAUNCH, "T4:1"), 2, "what would fit"),
        (LAUNCH, 2, "name the accelerators"),
        ((*LAUNCH, "H100:1", "--name", "A_B"), 2, "no name for a deployment"),
        ((*LAUNCH, "H100:1", "--cache", "weights"), 2, "volume:NAME or bucket:NAME"),
        ((*LAUNCH, "H100:1", "--service"), 2, "--plain-hop accepts that"),
        ((*LAUNCH, "H100:1", "--hours", "-1"), 2, "hours is -1"),
        ((*LAUNCH, "H100:1", "--engine", "umad"), 2, "--local"),
        (("scale", "status", "nothing"), 1, "no deployment is called nothing; there is none"),
        (("scale", "down", "nothing"), 1, "no deployment is called nothing"),
        (("scale", "down", "../x"), 2, "no name for a deployment"),
    ],
)
def test_what_is_wrong_is_one_line(
    umad: Umad, words: tuple[str, ...], code: int, says: str
) -> None:
    ended = umad(*words, *(("--offline", "--print") if words[1] == "launch" else ()))

    assert ended.code == code, ended.err
    assert says in ended.err
    assert ended.err.count("\n") == 1


def test_without_skypilot_it_is_said_how_to_get_it(
    umad: Umad, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    ended = umad(*LAUNCH, "H100:1", "--offline")

    assert ended.code == 1
    assert "pipx install 'skypilot[aws]'" in ended.err
    # Nothing is kept of what did not begin.
    assert json.loads(umad("scale", "status", "--json").out) == {"deployments": []}


def test_a_model_behind_a_licence_is_not_launched_without_a_token(
    umad: Umad, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sky_program.VARIABLE, "/bin/true")

    ended = umad("scale", "launch", "meta-llama/Llama-3.1-8B-Instruct", "L40S:1", "--offline")

    assert ended.code == 4
    assert "accept it on its page" in ended.err


def test_local_mode_serves_a_folder_of_this_machine_until_it_is_ended(
    umad: Umad, nano_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    os.link(nano_path, folder / "nano.gguf")

    started = umad("scale", "launch", str(folder), "--local", "--engine", "umad", "--name", "small")
    assert (started.code, started.err) == (0, "")
    try:
        taken = umad(
            "scale", "launch", str(folder), "--local", "--engine", "umad", "--name", "small"
        )
        found = status(umad)
        wait_until(lambda: bool(status(umad)["is_healthy"]), within_s=100, what="its health")
        key = Path(found["key_files"]["default"]).read_text().strip()
        url = f"http://{found['address']}/v1/completions"
        body = {"model": "nano", "prompt": "def f", "max_tokens": 4}
        without = httpx.post(url, json=body, timeout=60)
        answer = httpx.post(url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)
    finally:
        ended = umad("scale", "down", "small")

    assert taken.code == 1
    assert "umad scale down small" in taken.err
    assert key not in started.out
    assert found["state"] == "UP"
    assert (without.status_code, answer.status_code) == (401, 200)
    assert answer.json()["usage"]["completion_tokens"] == 4
    assert ended.code == 0
    with pytest.raises(httpx.ConnectError):
        httpx.post(url, json=body, timeout=60)
    assert json.loads(umad("scale", "status", "--json").out) == {"deployments": []}


def test_local_mode_says_what_is_missing(umad: Umad, tmp_path: Path) -> None:
    local = ("scale", "launch", str(tmp_path), "--local")

    nothing = umad(*local, "--engine", "umad")
    gone = umad("scale", "launch", str(tmp_path / "none"), "--local")
    on_what = umad(*local)

    assert nothing.code == 2
    assert "0 GGUF files" in nothing.err
    assert "is not here" in gone.err
    assert "name the accelerators of this machine" in on_what.err
    # What did not start is not kept.
    assert json.loads(umad("scale", "status", "--json").out) == {"deployments": []}


def status(umad: Umad) -> dict[str, Any]:
    found = json.loads(umad("scale", "status", "small", "--json").out)["deployments"][0]
    assert isinstance(found, dict)
    return found
