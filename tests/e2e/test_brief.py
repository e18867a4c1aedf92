"""The brief's own words (its section 7) run as they are printed.

The texts below are the brief's. A model's file of that name is nano's, and `f16|q8|q6` stands for
each of the three.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.live import CACHE, START_S, STOP_S
from umad.configuration.sources import load

COMMAND = r"""
umad serve \
  --model qwen-coder-30b-q8.gguf \
  --latency-cap 1.20 \
  --bmt-budget 320GBps \
  --kv-type f16|q8|q6 \
  --kv-pack head-major \
  --ipc uds \
  --http off
"""
CONFIGURATION = """
latency_cap: 1.20
bmt_budget_gbps: 320
qos:
  interactive: {priority: 10}
  background:  {priority: 1}
scheduler:
  max_merge: 4
  preempt_at_token: true
logging:
  scorecard_interval_s: 5
"""
METRICS = """
{
  "model":"qwen-coder-30b-q8",
  "tokens_per_s_at_cap": 88.4,
  "latency_cap": 1.20,
  "p95_ms": 57.2, "p99_ms": 85.1,
  "sum_bmt_mb_per_token": 312.0,
  "scheduler_efficiency": 0.86,
  "copy_free_ratio": 0.97,
  "gpu_idle_pct": 4.3,
  "residency_churn_mb_per_token": 0.0,
  "rss_gb": 31.1
}
"""
ENDPOINTS = ["POST /generate", "POST /load", "POST /unload", "GET /metrics", "POST /priority"]
FILE = "qwen-coder-30b-q8.gguf"
NAME = "qwen-coder-30b-q8"


def words(kv_type: str) -> list[str]:
    """The command as a shell gives it to umad, less the program's name."""
    said = COMMAND.replace("\\\n", "").replace("f16|q8|q6", kv_type)
    program, *arguments = shlex.split(said)
    assert program == "umad"
    return arguments


def start(folder: Path, arguments: list[str], **variables: str) -> "subprocess.Popen[str]":
    kept = {name: text for name, text in os.environ.items() if not name.startswith("UMAD_")}
    return subprocess.Popen(
        [sys.executable, "-m", "umad", *arguments],
        cwd=folder,
        env=kept
        | {"PYTHONPATH": str(Path(__file__).parents[2]), "XDG_CACHE_HOME": str(CACHE)}
        | {"UMAD_SOCKET": str(folder / "u.sock"), "HOME": str(folder)}
        | variables,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def said_until_ready(daemon: "subprocess.Popen[str]") -> str:
    assert daemon.stderr is not None
    said = ""
    for line in daemon.stderr:
        said += line
        if line.startswith("umad ready"):
            return said
    raise AssertionError(f"it did not start: {said}")


@pytest.fixture
def folder(short_tmp_path: Path, nano_path: Path) -> Path:
    shutil.copy(nano_path, short_tmp_path / FILE)
    return short_tmp_path


@pytest.mark.parametrize("kv_type", ["f16", "q8", "q6"])
def test_the_command_line_starts_a_daemon(folder: Path, kv_type: str) -> None:
    with start(folder, words(kv_type)) as daemon:
        try:
            said = said_until_ready(daemon)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.communicate(timeout=STOP_S)

    assert said.splitlines()[-1] == f"umad ready socket={folder / 'u.sock'} model={NAME}"
    assert "kv_pack head-major means unified here" in said
    assert daemon.returncode == 0


def test_a_budget_that_no_machine_has_is_a_warning_and_no_refusal(folder: Path) -> None:
    arguments = [one.replace("320GBps", "900TBps") for one in words("q8")]

    with start(folder, arguments) as daemon:
        try:
            said = said_until_ready(daemon)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.communicate(timeout=STOP_S)

    (warning,) = [line for line in said.splitlines() if "bmt_budget_gbps is" in line]
    assert "WARNING" in warning
    assert "--bmt-budget-gbps: bmt_budget_gbps is 900000 GB/s" in warning
    assert "holds nothing back here" in warning


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        pytest.param(["--ipc", "tcp"], "'uds', 'pipe'", id="a way to connect of its own"),
        pytest.param(["--kv-pack", "paged"], "unified, head-major", id="another layout"),
        pytest.param(["--kv-type", "f16|q8|q6"], "f16, q8, q6, q4", id="the line uncut"),
        pytest.param(
            ["--http", "on"], "off, HOST:PORT or unix:PATH", id="a gateway without a place"
        ),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(
    folder: Path, flag: list[str], said: str
) -> None:
    with start(folder, [*words("q8"), *flag]) as daemon:
        _, errors = daemon.communicate(timeout=START_S)

    assert daemon.returncode == 2
    assert said in errors


def test_a_named_pipe_is_a_line_and_the_socket_serves(folder: Path) -> None:
    with start(folder, [*words("q8"), "--ipc", "pipe"]) as daemon:
        try:
            said = said_until_ready(daemon)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.communicate(timeout=STOP_S)

    assert "umad: --ipc pipe is not offered: clients connect over the Unix socket (uds)" in said


def test_models_with_and_without_the_flag_are_all_served(folder: Path) -> None:
    (folder / "second.gguf").symlink_to(FILE)

    with start(folder, ["serve", "second.gguf", "--model", FILE, "--model", "nano"]) as daemon:
        try:
            said = said_until_ready(daemon)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.communicate(timeout=STOP_S)

    assert said.splitlines()[-1].endswith(f"model=second,{NAME},nano")


def test_every_option_is_a_flag() -> None:
    help_text = subprocess.run(
        [
            sys.executable,
            "-m",
            "umad",
            "serve",
            "--qos",
            "{fast: {priority: 20}}",
            "--apps",
            "{x: y}",
        ],
        capture_output=True,
        text=True,
        timeout=START_S,
        env=os.environ | {"UMAD_SOCKET": "/nowhere/u.sock"},
        check=False,
    ).stderr

    assert "--apps: app 'x' has no lane 'y'; there are background, fast, interactive" in help_text


# -- the configuration, the endpoints, the metrics ------------------------------------------------


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, nano_path: Path) -> Iterator[LiveGateway]:
    """A daemon of the brief's configuration, with a gateway."""
    folder = tmp_path_factory.mktemp("brief")
    shutil.copy(nano_path, folder / FILE)
    (folder / "umad.yaml").write_text(CONFIGURATION)
    with live_gateway(
        folder, "--model", str(folder / FILE), "--config", str(folder / "umad.yaml")
    ) as one:
        yield one


def test_the_configuration_is_taken_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text(CONFIGURATION)

    settings = load(environ={"HOME": "/nonexistent"}, path=path).settings

    assert (settings.latency_cap, settings.bmt_budget_gbps) == (1.2, 320)
    assert {name: lane.priority for name, lane in settings.qos.items()} == {
        "interactive": 10,
        "background": 1,
    }
    assert (settings.scheduler.max_merge, settings.scheduler.preempt_at_token) == (4, True)
    assert settings.logging.scorecard_interval_s == 5


def test_the_endpoints_answer(gateway: LiveGateway) -> None:
    """With the words of the command line and the configuration as names of fields."""
    prompt = {"prompt": "one two three", "max_tokens": 3, "session": "s", "lane": "background"}
    # Sixteen long answers: they still run when the session is moved, however fast the machine is.
    long = {"prompt": "one two", "max_tokens": 2000, "n": 16, "ignore_eos": True}
    long |= {"session": "talk", "lane": "background"}
    answers = {}
    with gateway.http() as http:
        with http.stream("POST", "/generate", json=prompt) as answer:
            lines = list(answer.iter_lines())
        answers["POST /generate"] = (answer.status_code, answer.headers["content-type"])
        load_answer = http.post("/load", json={"model": "nano"})
        answers["POST /load"] = (load_answer.status_code, load_answer.json()["name"])
        unloaded = http.post("/unload", json={"model": "nano"})
        answers["POST /unload"] = (unloaded.status_code, unloaded.json()["state"])
        card = http.get("/metrics")
        answers["GET /metrics"] = (card.status_code, card.json()["model"])
        with http.stream("POST", "/generate", json=long) as running:
            first = next(running.iter_lines())
            assert running.status_code == 200, first
            assert "error" not in first
            moved = http.post("/priority", json={"session": "talk", "lane": "interactive"})
            answers["POST /priority"] = (moved.status_code, moved.json()["moved"])

    assert list(answers) == ENDPOINTS
    assert answers == {
        "POST /generate": (200, "text/event-stream; charset=utf-8"),
        "POST /load": (200, "nano"),
        "POST /unload": (200, "unloaded"),
        "GET /metrics": (200, NAME),
        "POST /priority": (200, 1),
    }
    assert any(line.startswith("data: ") for line in lines)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"session": "none", "lane": "background"}, 404, id="a session nobody has"),
        pytest.param({"request": "r999", "lane": "background"}, 404, id="a request nobody has"),
        pytest.param({"target": "r999", "lane": "background"}, 404, id="either of the two"),
        pytest.param({"lane": "background"}, 400, id="nothing to move"),
        pytest.param({"session": "a", "request": "b", "lane": "background"}, 400, id="two things"),
        pytest.param({"session": "a"}, 400, id="no lane"),
    ],
)
def test_priority_wants_one_thing_and_a_lane(
    gateway: LiveGateway, body: dict[str, str], status: int
) -> None:
    with gateway.http() as http:
        assert http.post("/priority", json=body).status_code == status


def test_the_metrics_have_every_field_of_the_excerpt(gateway: LiveGateway) -> None:
    body = {"prompt": "one two", "max_tokens": 30, "ignore_eos": True, "stream": False}
    with gateway.http() as http:
        http.post("/generate", json=body).raise_for_status()
        card = http.get("/metrics").json()
    printed = json.loads(METRICS)

    assert list(printed) == re.findall(r'"(\w+)":', METRICS)
    assert {name: type(card[name]) for name in printed} == {
        name: type(value) for name, value in printed.items()
    }
    assert (card["model"], card["latency_cap"]) == (NAME, 1.2)
    assert card["models"][NAME]["model"] == NAME
