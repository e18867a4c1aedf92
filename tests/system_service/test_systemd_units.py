"""systemd reads the units as they are meant: it says so itself where it is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from umad.errors import BadConfig
from umad.system_service.job import Job
from umad.system_service.systemd_units import SERVICE, SOCKET, units

ODD = '/tmp/100% of $HOME\'s "models" \\ new'


def job(umad: str = "/usr/bin/env", **more: object) -> Job:
    return Job(command=(umad, "serve", "--config=/tmp/a b.yaml"), **more)  # type: ignore[arg-type]


def section(text: str, name: str) -> dict[str, str]:
    """The words of one section; the last one of a name."""
    lines = text.partition(f"[{name}]\n")[2].partition("\n[")[0].splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {word: value for word, _, value in pairs}


def test_the_first_connection_starts_the_daemon_and_the_socket_is_the_users_alone() -> None:
    socket = section(units(job())[SOCKET], "Socket")

    assert socket["ListenStream"] == "%t/umad/umad.sock"
    assert socket["SocketMode"] == "0600"
    assert socket["DirectoryMode"] == "0700"
    assert section(units(job())[SOCKET], "Install") == {"WantedBy": "sockets.target"}
    assert section(units(job())[SERVICE], "Install") == {}


def test_a_socket_with_a_name_is_listened_on_instead() -> None:
    text = units(job(socket="/srv/50%/u.sock"))[SOCKET]

    assert section(text, "Socket")["ListenStream"] == "/srv/50%%/u.sock"


def test_a_daemon_with_http_starts_at_the_login() -> None:
    text = units(job(at_login=True))[SERVICE]

    assert section(text, "Install") == {"WantedBy": "default.target"}


def test_the_service_is_watched_restarted_and_given_time() -> None:
    service = section(units(job(stop_s=75.0))[SERVICE], "Service")

    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"
    assert service["WatchdogSec"] == "30"
    assert service["TimeoutStopSec"] == "75"


def test_a_stop_reaches_the_daemon_alone_and_the_death_of_an_engine_stops_nothing() -> None:
    service = section(units(job())[SERVICE], "Service")

    assert service["KillMode"] == "mixed"
    assert service["OOMPolicy"] == "continue"


def test_nothing_that_llama_cpp_needs_is_taken_away() -> None:
    service = section(units(job())[SERVICE], "Service")

    for needed in ("MemoryDenyWriteExecute", "PrivateDevices", "ProtectHome", "PrivateUsers"):
        assert needed not in service
    assert service["NoNewPrivileges"] == "yes"
    assert service["LimitCORE"] == "0"


@pytest.mark.parametrize("mark", ["'", '"', "\\"])
def test_a_program_that_systemd_would_not_take_is_refused_with_its_path(mark: str) -> None:
    with pytest.raises(BadConfig, match="no quotes and backslashes"):
        units(job(f"/opt/it{mark}s/umad"))


@pytest.mark.parametrize("end", [" ", "\\"])
def test_a_socket_whose_last_sign_systemd_would_drop_is_refused(end: str) -> None:
    with pytest.raises(BadConfig, match="ends in a space or a backslash"):
        units(job(socket=f"/tmp/a b{end}"))


@pytest.mark.parametrize("at_login", [False, True])
def test_systemd_itself_has_nothing_to_say(tmp_path: Path, at_login: bool) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd here")
    program = tmp_path / "100% of $HOME"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    made = Job(
        command=(str(program), "serve", f"--config={ODD}", '["/a b"]'),
        environment={"UMAD_MODELS": ODD},
        at_login=at_login,
    )
    for name, text in units(made).items():
        (tmp_path / name).write_text(text)

    done = subprocess.run(
        [analyze, "--user", "verify", tmp_path / SOCKET, tmp_path / SERVICE],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        check=False,
    )

    assert done.stderr == ""
    assert done.returncode == 0
