"""A machine as it is rented, on this one: the keeper, a real HAProxy, and umad as the engine.

vLLM and SGLang need accelerators. What is before them is the same for any server that speaks
OpenAI's dialect, and umad is one.
"""

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.live import CACHE, wait_until
from tests.router.proxies import HAPROXY, OPENSSL, Authority
from tests.scale.launch.wanted import deployment
from umad.scale.launch import box_proxy, keys, sky_task
from umad.scale.launch.asking import Box, is_healthy
from umad.scale.launch.box import keeper
from umad.scale.launch.box_files import box_files
from umad.scale.launch.box_proxy import BoxProxy
from umad.scale.launch.engine_line import ENGINE_PORT
from umad.scale.launch.here import free_port

pytestmark = pytest.mark.skipif(
    HAPROXY is None or OPENSSL is None, reason="needs haproxy and openssl"
)
NAME = "qwen"
KEYS = keys.make(("alice", "bob"))
# An engine that answers that it is well, and what it was told.
WELL = """
import json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Well(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(float(self.headers.get("x-slow") or 0))
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Well).serve_forever()
"""


@dataclass(frozen=True)
class Running:
    """A keeper and what it keeps."""

    process: "subprocess.Popen[str]"
    port: int
    authority: Authority
    run_folder: Path

    def asked(
        self, path: str, headers: Mapping[str, str] | None = None, body: str | None = None,
        own: Path | None = None,
    ) -> tuple[int, str]:  # fmt: skip
        """Status and body, over TLS."""
        context = ssl.create_default_context(cafile=str(self.authority.path))
        context.check_hostname = False
        if own is not None:
            context.load_cert_chain(str(own))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=60, context=context
        )
        try:
            connection.request("POST" if body else "GET", path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def box(self, own: Path | None = None) -> Box:
        return Box(
            address=f"127.0.0.1:{self.port}", name=NAME, authority=self.authority.path, own=own,
            key=KEYS["alice"],
        )  # fmt: skip

    def ended(self, within_s: float = 90.0) -> tuple[int, str]:
        """The code, and the last line."""
        _, said = self.process.communicate(timeout=within_s)
        return self.process.returncode, said.strip().splitlines()[-1]


@contextmanager
def running(
    folder: Path, engine: list[str], engine_port: int, *, idle_s: float = 3600.0,
    load_s: float = 600.0, ends_at: float = 0.0, networks: tuple[str, ...] = (),
    in_team: bool = False,
) -> Iterator[Running]:  # fmt: skip
    authority, port, run_folder = Authority(folder), free_port(0), folder / "run"
    certificate = authority.certify(NAME)
    proxy = BoxProxy(
        run_folder=str(run_folder), certificate=str(certificate), port=port, networks=networks,
        authority=str(authority.path) if in_team else None, engine_port=engine_port,
        host="127.0.0.1",
    )  # fmt: skip
    (folder / "haproxy.cfg").write_text(box_proxy.render(proxy))
    settings: dict[str, Any] = {
        "engine": engine, "engine_port": engine_port, "idle_s": idle_s, "load_s": load_s,
        "proxy": [HAPROXY, "-W", "-db", "-f", str(folder / "haproxy.cfg")],
        "run_folder": str(run_folder),
    }  # fmt: skip
    (folder / "keeper.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        [sys.executable, str(keeper.__file__), str(folder / "keeper.json")],
        env=os.environ | {keeper.KEYS: keys.digests(KEYS), keeper.ENDS_AT: str(ends_at)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Running(process=process, port=port, authority=authority, run_folder=run_folder)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=90)


def small(port: int) -> list[str]:
    return [sys.executable, "-c", WELL, str(port)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, nano_path: Path) -> Iterator[Running]:
    """umad itself behind it."""
    folder, port = tmp_path_factory.mktemp("box"), free_port(0)
    socket = tmp_path_factory.mktemp("s") / "umad.sock"
    engine = [
        "/usr/bin/env", f"XDG_CACHE_HOME={CACHE}", sys.executable, "-m", "umad", "serve",
        str(nano_path), "--socket", str(socket), "--http", f"127.0.0.1:{port}",
    ]  # fmt: skip
    with running(folder, engine, port) as found:
        wait_until(lambda: is_healthy(found.box()), within_s=120, what="the engine's health")
        yield found


def test_the_files_of_a_machine_run_as_its_script_starts_them(tmp_path: Path) -> None:
    """What is carried there, in a home like there; only the ports are others."""
    wanted = deployment()
    task = sky_task.task(wanted, folder=str(tmp_path))
    engine_port, port, authority = free_port(0), free_port(0), Authority(tmp_path)
    home = tmp_path / "home"
    for folder in ("umad-box", "umad-tls", "umad-engine/bin"):
        (home / folder).mkdir(parents=True)
    for name, text in box_files(wanted).items():
        text = text.replace(str(ENGINE_PORT), str(engine_port)).replace(":8443", f":{port}")
        (home / "umad-box" / name).write_text(text)
    shutil.copy(authority.certify(NAME), home / "umad-tls/node.pem")
    (home / "umad-engine/bin/python").symlink_to(sys.executable)
    vllm = home / "umad-engine/bin/vllm"
    vllm.write_text(f"#!{sys.executable}\nimport sys\nsys.argv[1] = {str(engine_port)!r}\n{WELL}")
    vllm.chmod(0o755)
    environment = {
        "HOME": str(home), "PATH": os.environ["PATH"], keeper.KEYS: keys.digests(KEYS),
        **task["envs"],
    }  # fmt: skip
    with subprocess.Popen(
        ["bash", "-c", task["run"]], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        found = Running(
            process=process, port=port, authority=authority, run_folder=home / "umad-run"
        )
        try:
            wait_until(lambda: is_healthy(found.box()), what="the engine's health")
            assert found.asked("/v1/models")[0] == 401
            assert found.asked("/v1/models", {"x-api-key": KEYS["bob"]})[0] == 200
        finally:
            process.terminate()
        assert found.ended() == (0, "umad keeper: stopped")


def test_a_key_is_needed_for_everything_but_health(served: Running) -> None:
    good, wrong = {"Authorization": f"Bearer {KEYS['bob']}"}, {"Authorization": "Bearer sk-x"}

    assert served.asked("/health")[0] == 200
    for path in ("/v1/models", "/metrics"):
        assert served.asked(path)[0] == 401
        assert served.asked(path, wrong)[0] == 401
        assert served.asked(path, {"Authorization": KEYS["bob"]})[0] == 401
        assert served.asked(path, good)[0] == 200
    # As clients of Anthropic's dialect send it.
    assert served.asked("/v1/models", {"x-api-key": KEYS["bob"]})[0] == 200
    # Its name or its digest is no key.
    assert served.asked("/v1/models", {"x-umad-key": "bob"})[0] == 401
    assert served.asked("/v1/models", {"x-api-key": keys.digest(KEYS["bob"])})[0] == 401
    assert served.asked("/v1/models", {"x-umad-front": "1"})[0] == 401


def test_paths_that_are_not_for_clients_are_refused_with_any_key(served: Running) -> None:
    good = {"Authorization": f"Bearer {KEYS['bob']}"}

    for path in ("/invocations", "/collective_rpc", "/update_weights_from_disk", "/docs", "/"):
        assert served.asked(path, good)[0] == 403, path
    for path in ("//invocations", "/v1/../invocations", "/v1/models/", "/V1/models"):
        assert served.asked(path, good)[0] in (400, 403), path


def test_answers_come_through(served: Running) -> None:
    body = json.dumps({"model": "nano", "messages": [{"role": "user", "content": "def f"}],
                       "max_tokens": 4})  # fmt: skip
    headers = {"Authorization": f"Bearer {KEYS['alice']}", "content-type": "application/json"}

    status, text = served.asked("/v1/chat/completions", headers, body)

    assert status == 200, text
    assert json.loads(text)["usage"]["completion_tokens"] > 0


def test_no_key_lies_on_the_machine_and_its_files_are_one_user_s(served: Running) -> None:
    written = b"".join(one.read_bytes() for one in served.run_folder.rglob("*") if one.is_file())

    assert keys.digest(KEYS["alice"]).encode() in written
    assert KEYS["alice"].encode() not in written
    assert (served.run_folder / "keys.map").stat().st_mode & 0o077 == 0
    assert (served.run_folder / "admin.sock").stat().st_mode & 0o077 == 0
    for child in psutil.Process(served.process.pid).children(recursive=True):
        # HAProxy and the engine: neither has what the keeper was given.
        assert keeper.KEYS not in child.environ()


def test_an_engine_is_told_the_key_s_name_and_never_the_key(tmp_path: Path) -> None:
    port = free_port(0)
    with running(tmp_path, small(port), port) as found:
        wait_until(lambda: is_healthy(found.box()), what="the engine's health")
        # What a client says of its name is not believed.
        lies = {"x-umad-key": "alice", "x-custom-labels": '{"key": "alice"}', "x-umad-front": "1"}

        for own in ({"Authorization": f"Bearer {KEYS['bob']}"}, {"x-api-key": KEYS["bob"]}):
            told = json.loads(found.asked("/v1/models", lies | own)[1])

            assert told["x-umad-key"] == "bob"
            # As SGLang reads it.
            assert json.loads(told["x-custom-labels"]) == {"key": "bob"}
            assert KEYS["bob"] not in json.dumps(told)


def test_it_ends_when_nobody_asks_for_long_and_watching_is_no_asking(tmp_path: Path) -> None:
    port = free_port(0)
    with running(tmp_path, small(port), port, idle_s=4.0) as found:
        wait_until(lambda: is_healthy(found.box()), what="the engine's health")
        family = psutil.Process(found.process.pid).children(recursive=True)
        while found.process.poll() is None and is_healthy(found.box()):
            time.sleep(0.1)

        assert found.ended() == (0, "umad keeper: idle")
        assert not [one for one in family if one.is_running()]


def test_a_request_that_runs_keeps_it_from_being_idle(tmp_path: Path) -> None:
    port = free_port(0)
    with running(tmp_path, small(port), port, idle_s=2.0) as found:
        wait_until(lambda: is_healthy(found.box()), what="the engine's health")

        # Three times as long as it may be idle, in one answer.
        headers = {"x-api-key": KEYS["bob"], "x-slow": "6"}
        assert found.asked("/v1/models", headers)[0] == 200


def test_it_ends_at_its_budget_s_moment(tmp_path: Path) -> None:
    port, ends_at = free_port(0), time.time() + 4  # noqa: TID251
    with running(tmp_path, small(port), port, ends_at=ends_at) as found:
        assert found.ended() == (0, "umad keeper: budget")


def test_an_engine_that_dies_or_never_answers_is_no_success(tmp_path: Path) -> None:
    port = free_port(0)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with running(tmp_path / "a", ["/bin/false"], port) as found:
        assert found.ended() == (1, "umad keeper: engine ended by itself with 1")
    with running(tmp_path / "b", ["/bin/sleep", "600"], port, load_s=2.0) as found:
        assert found.ended() == (1, "umad keeper: the engine did not answer within 2 s")


def test_other_networks_do_not_get_as_far_as_tls(tmp_path: Path) -> None:
    port = free_port(0)
    with running(tmp_path, small(port), port, networks=("10.0.0.0/8", "fd00::/8")) as found:
        wait_until(lambda: (found.run_folder / "admin.sock").exists(), what="HAProxy")

        with pytest.raises(OSError, match=r"(?i)eof|reset"):
            found.asked("/health")


def test_in_a_team_the_router_alone_may_connect_and_its_gateway_s_mark_counts(
    tmp_path: Path,
) -> None:
    port = free_port(0)
    with running(tmp_path, small(port), port, in_team=True) as found:
        own = found.authority.certify("router")
        wait_until(lambda: is_healthy(found.box(own)), what="the engine's health")

        assert found.asked("/v1/models", {"x-umad-front": "1"}, own=own)[0] == 200
        assert found.asked("/v1/models", own=own)[0] == 401
        with pytest.raises((OSError, http.client.HTTPException)):
            found.asked("/health")
