"""Runs an engine behind HAProxy on a rented machine, and ends both when it is time.

    python3 keeper.py SETTINGS.json

It ends with 0 when nobody asked for long, when the budget's moment has come, or on SIGTERM; with 1
when the engine or HAProxy ended by itself, or the engine never answered. What rents the machine
(SkyPilot's autostop) then gives it back. Digests of keys come in the environment, because what
SkyPilot keeps in files may be read by others.

The standard library of Python 3.10 alone: no umad is installed there. Not: any byte of a request,
which HAProxy carries. Owner: its one process.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

KEYS, ENDS_AT = "UMAD_KEYS", "UMAD_ENDS_AT"
WELL = ("idle", "budget", "stopped")
_ROUND_S = 5.0
_GRACE_S = 30.0
_ASKED_S = 5.0


@dataclass
class Settings:
    """What is run. Paths may begin with ~/."""

    # Words of the engine's command line, and of HAProxy's.
    engine: list[str]
    proxy: list[str]
    # A folder of this user alone: the map of keys, HAProxy's admin socket.
    run_folder: str
    engine_port: int
    # So long without a request ends it, from the engine's first answer on.
    idle_s: float
    # So long the engine may take until it answers: installing is done, loading is not.
    load_s: float
    # What the engine's environment has besides.
    environment: dict[str, str] = field(default_factory=dict)


def main(path: str) -> int:
    """Run all of it until it is over; the exit code."""
    with open(path, encoding="utf-8") as file:
        settings = Settings(**json.load(file))
    run_folder = os.path.expanduser(settings.run_folder)
    os.makedirs(run_folder, mode=0o700, exist_ok=True)
    os.chmod(run_folder, 0o700)
    keys_path = os.path.join(run_folder, "keys.map")
    descriptor = os.open(keys_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(os.environ.get(KEYS, ""))
    stopped: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)

    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, stop)
    # The engine has no use for the keys, and what it starts might show its environment.
    environment = {name: value for name, value in os.environ.items() if name != KEYS}
    environment |= {name: os.path.expanduser(value) for name, value in settings.environment.items()}
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, words in (("engine", settings.engine), ("HAProxy", settings.proxy)):
            children[name] = subprocess.Popen(
                [os.path.expanduser(word) for word in words],
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        why = _watched(children, settings, os.path.join(run_folder, "admin.sock"), stopped)
    finally:
        for child in reversed(list(children.values())):
            _end(child)
    sys.stderr.write(f"umad keeper: {why}\n")
    return 0 if why in WELL else 1


def _watched(
    children: dict[str, subprocess.Popen[bytes]],
    settings: Settings,
    admin_path: str,
    stopped: list[int],
) -> str:
    """Why it is over: one of `WELL`, or what is wrong."""
    ends_at = float(os.environ.get(ENDS_AT) or 0)
    round_s = min(_ROUND_S, settings.idle_s / 4)
    began = used = time.monotonic()
    is_loaded = False
    last: tuple[int, int] | None = None
    while True:
        for name, child in children.items():
            if child.poll() is not None:
                return f"{name} ended by itself with {child.returncode}"
        if stopped:
            return "stopped"
        if ends_at and time.time() >= ends_at:
            return "budget"
        now = time.monotonic()
        if not is_loaded:
            is_loaded = _answers(settings.engine_port)
            used = now
            if now - began > settings.load_s:
                return f"the engine did not answer within {settings.load_s:.0f} s"
        seen = _use(admin_path)
        # Where HAProxy cannot be asked nothing is known: a machine that nobody reaches is idle.
        if seen is not None and (seen != last or seen[0] > 0):
            last, used = seen, now
        if now - used >= settings.idle_s:
            return "idle"
        time.sleep(round_s)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=_ASKED_S) as found:
            return bool(found.status == 200)
    except OSError:
        return False


def _use(admin_path: str) -> tuple[int, int] | None:
    """Requests that run at the engine, and those that ever did. Watching is another backend."""
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(_ASKED_S)
            asked.connect(admin_path)
            asked.sendall(b"show stat\n")
            text = b"".join(iter(lambda: asked.recv(65536), b"")).decode()
    except OSError:
        return None
    rows = [line.split(",") for line in text.lstrip("# ").splitlines() if line]
    head = {name: index for index, name in enumerate(rows[0])} if rows else {}
    for row in rows[1:]:
        if row[:2] == ["engine", "BACKEND"]:
            return int(row[head["scur"]] or 0), int(row[head["stot"]] or 0)
    return None


def _end(child: "subprocess.Popen[Any]") -> None:
    """The child and all that it started: engines have workers of their own."""
    for number, within in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        try:
            os.killpg(child.pid, number)
            child.wait(within)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
