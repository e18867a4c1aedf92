"""`umad scale status` and `watch` for a machine that was rented.

The cloud is written by hand: a program in SkyPilot's place tells states from a file and notes what
it is asked. The machine is real: the keeper, HAProxy with the team's certificate, and a server with
vLLM's middleware. So is the router's folder.
"""

import json
import shutil
import ssl
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Umad
from tests.live import wait_until
from umad.scale.launch import box_proxy, keys
from umad.scale.launch.box import keeper, meter
from umad.scale.launch.box_proxy import BoxProxy
from umad.scale.launch.here import free_port
from umad.scale.launch.record import Record

pytest.importorskip("cryptography")
HAPROXY = shutil.which("haproxy")
pytestmark = pytest.mark.skipif(HAPROXY is None, reason="needs haproxy")
NAME = "qwen"
# In the place of SkyPilot's Python: its one argument is umad's driver, which it does not run.
SKY = """#!{python}
import json, pathlib, sys
here = pathlib.Path({folder!r})
asked = json.load(sys.stdin)
with open(here / "asked", "a") as file:
    file.write(json.dumps(asked) + chr(10))
print((here / "states").read_text() if asked["do"] == "status" else "{{}}")
"""
# A server that answers as vLLM does, behind the meter: uvicorn and ASGI are vLLM's, too.
ENGINE = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
sys.path.insert(0, sys.argv[2])
from meter import Meter
async def health(request): return PlainTextResponse("")
async def chat(request):
    return JSONResponse({"usage": {"prompt_tokens": 700, "completion_tokens": 300}})
app = Starlette(routes=[Route("/health", health),
                        Route("/v1/chat/completions", chat, methods=["POST"])])
uvicorn.run(Meter(app), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


@dataclass(frozen=True)
class Rented:
    """A machine of the team, and the cloud that knows it."""

    folder: Path
    port: int
    key: str
    process: "subprocess.Popen[str]"

    def says(self, job: str | None) -> None:
        """What SkyPilot knows from now on; None is nothing."""
        row = {
            "state": "UP",
            "address": f"127.0.0.1:{self.port}",
            "price_per_hour": 3.6,
            "job": job,
        }
        found = {} if job is None else {NAME: row}
        half = self.folder / "half"
        half.write_text(json.dumps({"found": found}))
        half.replace(self.folder / "states")

    @property
    def asked(self) -> list[dict[str, Any]]:
        """What SkyPilot was asked so far."""
        return [json.loads(one) for one in (self.folder / "asked").read_text().splitlines()]


def members(home: Path) -> list[str]:
    path = home / ".config/umad/router/members.json"
    return [one["name"] for one in json.loads(path.read_text())["members"]] if path.exists() else []


@pytest.fixture
def home(umad: Umad, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # HAProxy's socket wants a short path.
    with tempfile.TemporaryDirectory(prefix="umad-", dir="/tmp") as folder:
        monkeypatch.setenv("HOME", folder)
        assert umad("router", "init").code == 0
        yield Path(folder)


@pytest.fixture
def rented(
    home: Path, umad: Umad, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Rented]:
    kept = home / ".config/umad/scale" / NAME
    assert umad("router", "certify", NAME, "--out", str(kept / "tls")).code == 0
    made = keys.make(("alice",))
    (kept / "keys").mkdir()
    (kept / "keys" / "alice").write_text(made["alice"] + "\n")
    (kept / "task.yaml").write_text("name: qwen\n")
    record = Record(
        name=NAME, kind="task", engine="vllm", model="m", accelerators="L4:1",
        began_at_s=time.time() - 3600, uses_spot=True, price_per_hour=9.0,  # noqa: TID251
        router_folder=str(home / ".config/umad/router"),
    )  # fmt: skip
    (kept / "deployment.json").write_text(json.dumps(asdict(record)))
    sky = tmp_path / "python"
    sky.write_text(SKY.format(python=sys.executable, folder=str(tmp_path)))
    # As `sky` itself: its first line names the Python that is asked.
    named = tmp_path / "sky"
    named.write_text(f"#!{sky}\n")
    for one in (sky, named):
        one.chmod(one.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("UMAD_SKY", str(named))
    with Machine(kept / "tls", made, tmp_path) as (port, process):
        found = Rented(folder=tmp_path, port=port, key=made["alice"], process=process)
        found.says("RUNNING")
        yield found


@pytest.fixture
def is_well(home: Path, umad: Umad, rented: Rented) -> Callable[[], bool]:
    return lambda: bool(row(umad)["is_healthy"])


class Machine:
    """A keeper with HAProxy and an engine, as the machine has them."""

    def __init__(self, tls: Path, made: dict[str, str], folder: Path) -> None:
        engine_port, self._port = free_port(0), free_port(0)
        proxy = BoxProxy(
            run_folder=str(folder / "run"), certificate=str(tls / "own.pem"),
            authority=str(tls / "ca.pem"), port=self._port, engine_port=engine_port,
            host="127.0.0.1",
        )  # fmt: skip
        (folder / "haproxy.cfg").write_text(box_proxy.render(proxy))
        settings = {
            "engine": [sys.executable, "-c", ENGINE, str(engine_port),
                       str(Path(meter.__file__).parent)],
            "proxy": [HAPROXY, "-W", "-db", "-f", str(folder / "haproxy.cfg")],
            "run_folder": str(folder / "run"), "engine_port": engine_port,
            "idle_s": 3600.0, "load_s": 600.0,
            "environment": {"UMAD_USAGE_FOLDER": str(folder / "usage")},
        }  # fmt: skip
        (folder / "keeper.json").write_text(json.dumps(settings))
        self._words = [sys.executable, str(keeper.__file__), str(folder / "keeper.json")]
        self._digests = keys.digests(made)

    def __enter__(self) -> tuple[int, "subprocess.Popen[str]"]:
        environment = {keeper.KEYS: self._digests, "PATH": "/usr/bin:/bin"}
        self._process = subprocess.Popen(
            self._words, env=environment, stderr=subprocess.PIPE, text=True
        )
        return self._port, self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=90)


def row(umad: Umad) -> dict[str, Any]:
    found = json.loads(umad("scale", "status", NAME, "--json").out)["deployments"][0]
    assert isinstance(found, dict)
    return found


def ask(rented: Rented, home: Path) -> None:
    """A client's request, as the router passes it on."""
    context = ssl.create_default_context(cafile=str(home / ".config/umad/router/ca.pem"))
    context.check_hostname = False
    context.load_cert_chain(str(home / ".config/umad/router/own.pem"))
    asked = urllib.request.Request(
        f"https://127.0.0.1:{rented.port}/v1/chat/completions",
        data=b"{}", headers={"Authorization": f"Bearer {rented.key}"},
    )  # fmt: skip
    with urllib.request.urlopen(asked, timeout=60, context=context) as answer:
        assert answer.status == 200


def test_tokens_are_told_by_key_with_what_a_thousand_cost(
    home: Path, umad: Umad, rented: Rented, is_well: Callable[[], bool]
) -> None:
    wait_until(is_well, what="the machine's health")
    for _ in range(3):
        ask(rented, home)

    found = row(umad)

    assert found["tokens_by_key"] == {"alice": 3000}
    # What SkyPilot says goes before what was offered: 3.60 for an hour and a moment.
    assert found["price_per_hour"] == 3.6
    assert found["spent"] == pytest.approx(3.6, rel=0.1)
    assert found["cost_per_1000_tokens"] == pytest.approx(1.2, rel=0.1)
    assert rented.key not in umad("scale", "status").out


def test_a_machine_joins_when_it_is_healthy_and_leaves_when_its_job_has_ended(
    home: Path, umad: Umad, rented: Rented, is_well: Callable[[], bool]
) -> None:
    wait_until(is_well, what="the machine's health")

    joined = umad("scale", "watch", "--once")
    assert (joined.code, joined.out) == (0, "qwen: join\n")
    assert members(home) == [NAME]
    assert umad("scale", "watch", "--once").out == ""

    rented.says("SUCCEEDED")
    assert umad("scale", "watch", "--once").out == "qwen: leave\n"
    assert members(home) == []
    assert {one["do"] for one in rented.asked} == {"status"}


def test_the_router_sends_requests_to_a_machine_that_has_joined(
    home: Path, umad: Umad, rented: Rented, is_well: Callable[[], bool]
) -> None:
    wait_until(is_well, what="the machine's health")
    port = free_port(0)
    (home / ".config/umad/router/router.yaml").write_text(f"listen: 127.0.0.1:{port}\n")
    umad("scale", "watch", "--once")
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        data=b'{"model": "m"}',
        headers={"Authorization": f"Bearer {rented.key}", "content-type": "application/json"},
    )

    def answered() -> bool:
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return bool(json.load(answer)["usage"]["completion_tokens"] == 300)
        except OSError:
            return False

    with subprocess.Popen([sys.executable, "-m", "umad", "router", "run"]) as router:
        try:
            wait_until(answered, what="an answer through the router")
        finally:
            router.terminate()
            router.wait(60)
            assert umad("router", "stop", "--now").code == 0

    assert row(umad)["tokens_by_key"] == {"alice": 1000}


def test_a_machine_that_does_not_answer_does_not_join(
    home: Path, umad: Umad, rented: Rented
) -> None:
    rented.process.terminate()
    rented.process.wait(90)

    assert umad("scale", "watch", "--once").out == ""
    assert members(home) == []


def test_a_machine_that_was_taken_away_leaves_and_is_rented_anew_with_the_same_keys(
    home: Path, umad: Umad, rented: Rented, is_well: Callable[[], bool]
) -> None:
    wait_until(is_well, what="the machine's health")
    with subprocess.Popen(
        [sys.executable, "-m", "umad", "scale", "watch", "--every", "1"],
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        try:
            wait_until(lambda: members(home) == [NAME], what="its joining")
            rented.says(None)
            wait_until(
                lambda: any(one["do"] == "launch" for one in rented.asked), what="renting anew"
            )
        finally:
            watching.terminate()

    assert members(home) == []
    (launched,) = [one for one in rented.asked if one["do"] == "launch"]
    assert launched["secrets"] == {"UMAD_KEYS": keys.digests({"alice": rented.key})}
    assert launched["task"] == "name: qwen\n"
    assert rented.key not in json.dumps(rented.asked)


def test_down_takes_it_out_of_the_team_gives_it_back_and_forgets_its_keys(
    home: Path, umad: Umad, rented: Rented, is_well: Callable[[], bool]
) -> None:
    wait_until(is_well, what="the machine's health")
    umad("scale", "watch", "--once")

    ended = umad("scale", "down", NAME)

    assert ended.code == 0, ended.err
    assert members(home) == []
    assert rented.asked[-1] == {"do": "down", "name": NAME, "kind": "task"}
    assert not (home / ".config/umad/scale" / NAME).exists()
