"""Jobs through every door, with a real daemon, a real gateway, real processes and a hub on
loopback: asked for, followed, left, ended, and going on without a daemon.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.jobs.test_worker import DATA, MIB
from tests.live import CACHE, live_daemon, wait_until
from tests.models.loopback_hub import LoopbackHub

REPOSITORY, FILE = "org/fox-GGUF", "fox-Q4_K_M.gguf"
REFERENCE = f"hf:{REPOSITORY}:Q4_K_M"
# Far above what anything takes; on a crowded machine each process begins slowly.
PATIENCE_S = 200.0
pytestmark = pytest.mark.timeout(600)
# Less than a piece of the file, so that the pull stands in its midst.
SOME = MIB + 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A machine with a daemon, a gateway and a hub, and a shell on it."""

    folder: Path
    hub: LoopbackHub
    gateway: LiveGateway
    environ: Mapping[str, str]

    @property
    def digest(self) -> str:
        return self.hub.repositories[REPOSITORY].etag(FILE)

    def http(self) -> httpx.Client:
        return self.gateway.http()

    def forget(self) -> None:
        """As if nothing had been fetched yet."""
        shutil.rmtree(self.folder / "hub", ignore_errors=True)
        with self.http() as http:
            model = {"model": FILE.removesuffix(".gguf")}
            answer = http.request("DELETE", "/api/delete", json=model)
        assert answer.status_code in (200, 404), answer.text

    def jobs(self) -> list[dict[str, Any]]:
        with self.http() as http:
            found: list[dict[str, Any]] = http.get("/jobs").json()["jobs"]
        return found


@contextmanager
def umad(environ: Mapping[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command; it is gone when the block is left."""
    with subprocess.Popen(
        [sys.executable, "-m", "umad", *words],
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def said(environ: Mapping[str, str], *words: str) -> tuple[int, str, str]:
    with umad(environ, *words) as child:
        out, error = child.communicate(timeout=PATIENCE_S)
        return child.returncode, out, error


@contextmanager
def surroundings() -> Iterator[tuple[Path, LoopbackHub, dict[str, str]]]:
    """A folder, a hub with one model, and the variables that both shell and daemon have."""
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    try:
        with LoopbackHub() as hub:
            hub.add(REPOSITORY, {FILE: DATA})
            yield (
                folder,
                hub,
                {
                    "HF_ENDPOINT": hub.url,
                    "HF_HUB_CACHE": str(folder / "hub"),
                    "HTTPS_PROXY": "http://127.0.0.1:9",
                    "UMAD_MODELS": str(folder / "store"),
                    "XDG_CACHE_HOME": str(CACHE),
                    "UMAD_CONFIG": str(folder / "none.yaml"),
                    "UMAD_SOCKET": str(folder / "u.sock"),
                },
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shared_house() -> Iterator[House]:
    with (
        surroundings() as (folder, hub, environ),
        live_gateway(folder, "nano", environment=environ) as gateway,
    ):
        yield House(folder=folder, hub=hub, gateway=gateway, environ=environ)


@pytest.fixture
def house(shared_house: House) -> Iterator[House]:
    yield shared_house
    shared_house.hub.release()
    for row in shared_house.jobs():
        if row["state"] in ("queued", "running"):
            with shared_house.http() as http:
                http.delete(f"/jobs/{row['job']}")
    wait_until(lambda: all(row["ended_s"] for row in shared_house.jobs()), within_s=PATIENCE_S)
    # What is on its way to a process that is gone would be taken from what the next one gets.
    shared_house.hub.settle()
    shared_house.forget()


def until(house: House, job: str, **wanted: Any) -> dict[str, Any]:
    """The job, when it has these values."""
    with house.http() as http:
        row: dict[str, Any] = http.get(f"/jobs/{job}").json()
        while any(row[name] != value for name, value in wanted.items()):
            assert row["ended_s"] is None, json.dumps(row)
            row = http.get(f"/jobs/{job}", params={"after": row["version"]}).json()
    return row


def test_a_pull_as_ollamas_clients_read_it(house: House) -> None:
    body = {"model": f"hf.co/{REPOSITORY}:Q4_K_M"}
    with house.http() as http, http.stream("POST", "/api/pull", json=body) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in answer.iter_lines()]
        again = http.post("/api/pull", json={**body, "stream": False})

    layer = {
        "status": f"pulling {house.digest[:12]}",
        "digest": f"sha256:{house.digest}",
        "total": len(DATA),
    }
    assert lines[0] == {"status": "pulling manifest"}
    layers = [one for one in lines if "total" in one]
    assert all({**one, "completed": 0} == {**layer, "completed": 0} for one in layers)
    completed = [one.get("completed", 0) for one in layers]
    assert completed == sorted(completed)
    assert completed[-1] == len(DATA)
    assert [one["status"] for one in lines[-3:]] == [
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    assert again.json() == {"status": "success"}
    store = json.loads(said(house.environ, "ls", "--json")[1])
    assert FILE.removesuffix(".gguf") in {one["name"] for one in store}


def test_a_pull_of_ollamas_ends_when_its_client_leaves(house: House) -> None:
    house.hub.hold_after(SOME)
    body = {"model": f"hf.co/{REPOSITORY}:Q4_K_M"}
    with house.http() as http, http.stream("POST", "/api/pull", json=body) as answer:
        for line in answer.iter_lines():
            if json.loads(line).get("completed"):
                break
    (row, *_) = house.jobs()

    ended = until(house, row["job"], state="cancelled")

    assert ended["parts"][0]["done"] > 0


def test_a_job_is_asked_for_looked_at_and_ended_over_http(house: House) -> None:
    house.hub.hold_after(SOME)
    with house.http() as http:
        made = http.post("/pull", json={"model": REFERENCE, "keep_free_bytes": 0}).json()
        same = http.post("/pull", json={"model": REFERENCE}).json()
        assert (made["is_new"], same["is_new"], same["job"]) == (True, False, made["job"])
        running = until(house, made["job"], step="fetching", state="running")
        assert running["what"] == REFERENCE
        listed = json.loads(said(house.environ, "jobs", "--json")[1])
        assert [one["job"] for one in listed if one["state"] == "running"] == [made["job"]]
        _, shown, _ = said(house.environ, "jobs")
        assert made["job"] in shown
        assert "fetching" in shown
        ended = http.delete(f"/jobs/{made['job']}")
        missing = http.get("/jobs/00000000")
        refused = http.post("/pull", json={"model": "qwen3-codr:30b"})

    assert ended.status_code == 200
    assert until(house, made["job"], state="cancelled")["result"] is None
    assert missing.status_code == 404
    assert refused.status_code == 404
    assert "near are qwen3-coder:30b" in refused.json()["error"]["message"]


def test_a_download_as_llama_servers_clients_have_it(house: House) -> None:
    name = f"{REPOSITORY}:Q4_K_M"
    events: list[dict[str, Any]] = []

    def listen() -> None:
        with house.http() as http, http.stream("GET", "/models/sse") as answer:
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    events.append(json.loads(line.removeprefix("data: ")))
                    if events[-1]["event"] == "model_remove":
                        return

    def heard(event: str) -> bool:
        return any(one["event"] == event for one in events)

    house.hub.hold_after(SOME)
    listening = threading.Thread(target=listen)
    listening.start()
    wait_until(lambda: heard("model_status"), within_s=PATIENCE_S)
    with house.http() as http:
        assert http.post("/models", json={"model": name}).json() == {"success": True}
        wait_until(
            lambda: any(one.get("data", {}).get(FILE, {}).get("done") for one in events),
            within_s=PATIENCE_S,
        )
        (coming,) = [one for one in http.get("/models").json()["data"] if one["id"] == name]
        house.hub.release()
        wait_until(lambda: heard("download_finished"), within_s=PATIENCE_S)
        gone = http.delete("/models", params={"model": name})
    listening.join(PATIENCE_S)

    assert coming["status"]["value"] == "downloading"
    assert coming["status"]["progress"][FILE]["total"] == len(DATA)
    finished = next(one for one in events if one["event"] == "download_finished")
    assert finished == {"model": name, "event": "download_finished"}
    assert gone.json() == {"success": True}
    assert events[-1] == {"model": FILE.removesuffix(".gguf"), "event": "model_remove"}


def test_umad_pull_is_a_job_of_the_daemon_which_ctrl_c_ends(house: House) -> None:
    house.hub.hold_after(SOME)
    with umad(house.environ, "pull", REFERENCE) as child:
        wait_until(
            lambda: (
                child.poll() is not None
                or any(row["state"] == "running" and row["done"] for row in house.jobs())
            ),
            within_s=PATIENCE_S,
        )
        assert child.poll() is None, child.communicate()
        child.send_signal(signal.SIGINT)
        out, error = child.communicate(timeout=PATIENCE_S)
    (row, *_) = house.jobs()

    assert (child.returncode, out) == (130, "")
    assert f"stopped: umad pull {REFERENCE} goes on from there" in error
    assert until(house, row["job"], state="cancelled")["done"] > 0


def test_a_shell_with_another_token_pulls_by_itself(house: House) -> None:
    before = len(house.jobs())

    code, out, error = said({**house.environ, "HF_TOKEN": "hf_other"}, "pull", REFERENCE)

    assert code == 0, error
    assert "fox-Q4_K_M is here" in out
    assert len(house.jobs()) == before


def test_a_job_goes_on_while_its_daemon_is_gone_and_the_next_one_tells_of_it() -> None:
    with surroundings() as (folder, hub, environ):
        hub.hold_after(SOME)
        with live_daemon(folder, "nano", environment=environ) as daemon:
            code, out, error = said(environ, "pull", "--background", "--json", REFERENCE)
            assert code == 0, error
            job = json.loads(out)["job"]
            wait_until(lambda: hub.sent_bytes >= SOME, within_s=PATIENCE_S, what="half a file")
            daemon.process.kill()
            daemon.process.wait(PATIENCE_S)
        (row,) = json.loads(said(environ, "jobs", "--json")[1])
        assert (row["job"], row["state"]) == (job, "running")
        with live_daemon(folder, "nano", environment=environ):
            hub.release()
            code, out, error = said(environ, "jobs", "follow", job)
            (after,) = json.loads(said(environ, "jobs", "--json")[1])

    assert (code, out) == (0, "fox-Q4_K_M is here\n"), error
    assert (after["state"], after["deaths"]) == ("done", 0)
