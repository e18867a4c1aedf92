"""umad's tasks in SkyPilot itself: read, priced and launched up to the renting, without a network.

`make scale-test` gives SkyPilot an environment of its own and names its Python in SKY_PYTHON. What
needs a cloud is not tested anywhere: renting, preemption, SkyServe's controller, autostop.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scale.launch.wanted import deployment, plan
from umad.scale.launch import keys, sky_task
from umad.scale.launch.deployment import Cache
from umad.scale.launch.scrubbing import scrubbed

SKY = os.environ.get("SKY_PYTHON", "")
ROOT = Path(__file__).parents[2]
OFFLINE = Path(__file__).with_name("offline.py")
API_SERVER = ("127.0.0.1", 46580)
TOKEN = "hf_verysecrettokenofmine"
pytestmark = [
    pytest.mark.skipif(not SKY, reason="make scale-test installs SkyPilot"),
    pytest.mark.skipif(shutil.which("rsync") is None, reason="SkyPilot wants rsync"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a catalogue, and SkyPilot's API server for as long as the tests take."""
    with socket.socket() as tried:
        if tried.connect_ex(API_SERVER) == 0:
            pytest.fail("an API server of SkyPilot runs here already: sky api stop")
    path = tmp_path_factory.mktemp("home")
    try:
        ask(path, OFFLINE, "serve")
        yield path
    finally:
        # Also where it was too slow to begin: it would be there for the next run.
        subprocess.run(
            [str(Path(SKY).with_name("sky")), "api", "stop"], env=environment(path), timeout=120,
            input="y\n", text=True, capture_output=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for reading alone. A pool or a cluster has SkyPilot look anew which clouds there are,
    and then the one that was written by hand is gone."""
    path = tmp_path_factory.mktemp("reader")
    ask(path, OFFLINE, "prepare")
    ask(path, OFFLINE, "pools")
    return path


def environment(home: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items()
        if not name.startswith(("UMAD_", "XDG_", "SKYPILOT_", "HF_"))
    }  # fmt: skip
    path = f"{Path(SKY).parent}:{os.environ['PATH']}"
    return kept | {"HOME": str(home), "UMAD_SKY": SKY, "HF_TOKEN": TOKEN, "PATH": path}


def ask(home: Path, *words: object, text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SKY, *map(str, words)], env=environment(home), input=text, text=True,
        capture_output=True, timeout=600,
    )  # fmt: skip


def umad(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "umad", "scale", *words], env=environment(home), cwd=ROOT,
        text=True, capture_output=True, timeout=600, stdin=subprocess.DEVNULL,
    )  # fmt: skip


LAUNCH = ("launch", "Qwen/Qwen3-14B-FP8", "H100:1", "--offline")


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"uses_spot": True, "infra": "runpod/US"},
        {"infra": "ssh/rack"},
        {"infra": "k8s/team"},
        {"kind": "service", "accepts_plain_hop": True, "uses_spot": True, "replicas": 3},
        {"cache": Cache(kind="volume", name="weights")},
        {"cache": Cache(kind="bucket", name="weights")},
        {"plan": plan(engine="sglang"), "logs_requests": True, "networks": ("10.0.0.0/8",)},
    ],
)
def test_skypilot_takes_every_task_that_umad_writes(
    reader: Path, tmp_path: Path, changed: dict[str, Any]
) -> None:
    for name in ("box", "tls"):
        (tmp_path / name).mkdir()
    for name in ("cert.pem", "key.pem"):
        (tmp_path / "tls" / name).write_text("x")
    text = sky_task.render(deployment(**changed), folder=str(tmp_path))

    ended = ask(reader, OFFLINE, "take", text=text)

    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]


def test_skypilot_refuses_what_it_does_not_know(reader: Path, tmp_path: Path) -> None:
    task = sky_task.task(deployment(), folder=str(tmp_path))
    task["resources"]["autostop"]["wait_for"] = "godot"

    assert ask(reader, OFFLINE, "take", text=yaml.safe_dump(task)).returncode == 1


def test_a_dry_run_goes_to_the_end_and_rents_nothing(home: Path) -> None:
    ended = umad(home, *LAUNCH, "--dry-run", "--spot", "--money", "20", "--hours", "100")

    assert ended.returncode == 0, ended.stderr
    assert "1.49 an hour  runpod/US spot" in ended.stdout
    assert "2.99 an hour  runpod/US on demand" in ended.stdout
    # 20 dollars at the price on demand, because spot machines may be followed by such.
    assert "ends after 6.7 hours, at most 20.00" in ended.stdout
    assert "nothing was rented" in ended.stdout
    assert "Dryrun finished" in ended.stderr
    assert json.loads(umad(home, "status", "--json").stdout) == {"deployments": []}


def test_no_secret_is_in_anything_that_is_printed(home: Path) -> None:
    gated = ("launch", "meta-llama/Llama-3.1-8B-Instruct", "L40S:1", "--offline", "--dry-run")
    ended = umad(home, *gated, "--keys", "alice,bob")

    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    assert TOKEN not in said
    # Neither a key nor a digest of one.
    assert not re.search(r"sk-[\w-]{20,}|[0-9a-f]{64}", said)
    # No key has reached SkyPilot at all: its files have digests at most.
    for path in (home / ".sky").rglob("*"):
        if path.is_file():
            assert not re.search(rb"sk-[\w-]{40,}", path.read_bytes()), path


def test_skypilot_s_own_dump_prints_secrets_and_they_are_taken_out(home: Path) -> None:
    made = keys.digests(keys.make(("alice",)))
    task = sky_task.task(deployment(), folder="/")
    task["file_mounts"] = {}
    task["secrets"] = {"UMAD_KEYS": made, "HF_TOKEN": TOKEN}

    dumped = ask(home, OFFLINE, "dump", text=yaml.safe_dump(task)).stdout

    # The reason why everything that comes from SkyPilot is looked through.
    assert TOKEN in dumped
    clean = scrubbed(dumped, [made, TOKEN])
    assert TOKEN not in clean
    assert made.split()[0] not in clean


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("launch", "Qwen/Qwen3-14B-FP8", "H200:8", "--offline"), "SkyPilot"),
        ((*LAUNCH, "--infra", "runpod/Atlantis"), "SkyPilot"),
        ((*LAUNCH, "--infra", "mars"), "SkyPilot"),
        ((*LAUNCH, "--money", "0.1"), "a machine needs 10 minutes to begin"),
        (LAUNCH, "--yes says that you want it"),
    ],
)
def test_what_cannot_be_rented_is_one_line_and_leaves_nothing(
    home: Path, words: tuple[str, ...], says: str
) -> None:
    ended = umad(home, *words)

    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode in (1, 2), ended.stderr
    assert last.startswith("umad: ")
    assert says in last
    assert json.loads(umad(home, "status", "--json").stdout) == {"deployments": []}


def test_what_skypilot_does_not_know_is_gone_and_ending_it_is_no_error(home: Path) -> None:
    folder = home / ".config/umad/scale/lost"
    folder.mkdir(parents=True, mode=0o700)
    record = {
        "name": "lost", "kind": "task", "engine": "vllm", "model": "m", "accelerators": "H100:1",
        "began_at_s": 1.0, "price_per_hour": 2.0,
    }  # fmt: skip
    (folder / "deployment.json").write_text(json.dumps(record))

    found = json.loads(umad(home, "status", "lost", "--json").stdout)["deployments"][0]
    ended = umad(home, "down", "lost")

    assert found["state"] == "gone"
    assert found["cost_per_1000_tokens"] is None
    assert ended.returncode == 0, ended.stderr
    assert not folder.exists()
