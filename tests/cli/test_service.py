"""`umad service` on a machine whose service manager is a stand-in."""

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.system_service.stand_ins import Systemctl
from umad.cli import service as work
from umad.cli.app import main
from umad.daemon.socket_file import SocketFile
from umad.system_service import choice
from umad.system_service.status import ServiceState
from umad.version import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(short_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("UMAD_", "XDG_", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(short_tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp_path / "run"))
    return short_tmp_path


@pytest.fixture
def systemctl(home: Path, monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    found = Systemctl()
    manager = partial(choice.service_manager, run=found, booted=home)
    monkeypatch.setattr(work, "service_manager", manager)
    monkeypatch.setattr(sys, "platform", "linux")
    return found


def units(home: Path) -> Path:
    return home / ".config" / "systemd" / "user"


def test_it_is_installed_asked_and_removed(
    home: Path, systemctl: Systemctl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["service", "install"]) == 0
    assert f"UMAD_SERVICE_VERSION={__version__}" in (units(home) / "umad.service").read_text()

    assert main(["service", "status"]) == 0
    assert "waiting: no daemon runs; the first connection starts one" in capsys.readouterr().out

    assert main(["service", "uninstall"]) == 0
    assert not list(units(home).iterdir())
    assert main(["service", "status"]) == 3
    assert "umad service install" in capsys.readouterr().out


def test_a_second_installation_says_that_nothing_has_changed(
    systemctl: Systemctl, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["service", "install"])
    systemctl.connected()

    assert main(["service", "install"]) == 0

    assert "nothing has changed" in capsys.readouterr().out
    assert systemctl.restarts == 0


def test_http_is_a_flag_of_the_daemon_and_starts_it_at_the_login(
    home: Path, systemctl: Systemctl
) -> None:
    assert main(["service", "install", "--http", "127.0.0.1:8080"]) == 0

    assert '"--http=127.0.0.1:8080"' in (units(home) / "umad.service").read_text()
    assert "umad.service" in systemctl.enabled


def test_an_upgrade_repeats_no_flag_and_says_which_it_keeps(
    home: Path, systemctl: Systemctl, capsys: pytest.CaptureFixture[str]
) -> None:
    config = home / "a b.yaml"
    config.write_text("ctx_size: 4096\n")
    main(["service", "install", "--http", "127.0.0.1:8080", "--config", str(config)])
    before = (units(home) / "umad.service").read_text()
    capsys.readouterr()

    assert main(["service", "install"]) == 0

    out, err = capsys.readouterr()
    assert "nothing has changed" in out
    assert "--http 127.0.0.1:8080 is kept" in err
    assert f"--config {config} is kept" in err
    assert (units(home) / "umad.service").read_text() == before

    assert main(["service", "install", "--http", "off"]) == 0
    assert "127.0.0.1" not in (units(home) / "umad.service").read_text()
    assert "umad.service" not in systemctl.enabled


@pytest.mark.parametrize("name", ["UMAD_MODELS", "UMAD_SOCKET", "HF_HOME", "LLAMA_CPP_LIB_PATH"])
def test_an_upgrade_from_another_shell_keeps_the_places_that_were_written_down(
    home: Path,
    systemctl: Systemctl,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """An upgrade over ssh or from cron does not have the variables of the shell before."""
    monkeypatch.setenv(name, str(home / "a b"))
    main(["service", "install"])
    before = {path: path.read_bytes() for path in units(home).iterdir()}
    monkeypatch.delenv(name)
    capsys.readouterr()

    assert main(["service", "install"]) == 0

    out, err = capsys.readouterr()
    assert "nothing has changed" in out
    assert f"{name}={home / 'a b'} is kept as it is installed" in err
    assert {path: path.read_bytes() for path in units(home).iterdir()} == before

    monkeypatch.setenv(name, "")
    assert main(["service", "install"]) == 0
    assert str(home / "a b") not in (units(home) / "umad.service").read_text()
    assert str(home / "a b") not in (units(home) / "umad.socket").read_text()


def test_a_start_reads_the_configuration_of_the_installed_service(
    home: Path,
    systemctl: Systemctl,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It lies where the installing shell had it. What this shell has there is not its business."""
    for folder, text in (("its", f"socket: {home / 'its.sock'}"), ("ours", "no such: option")):
        config = home / folder / "umad" / "umad.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(f"{text}\n")
    systemctl.unit_path = str(units(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "its"))
    main(["service", "install"])
    main(["service", "stop"])
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "ours"))

    def starts_beside_a_daemon_on(path: Path) -> int:
        owned = SocketFile.claim(path)
        try:
            return main(["service", "start"])
        finally:
            owned.close()

    assert starts_beside_a_daemon_on(home / "its.sock") == 1
    assert f"owns {home / 'its.sock'}" in capsys.readouterr().err
    assert starts_beside_a_daemon_on(home / "ours.sock") == 0


def test_an_installation_that_starts_a_stopped_service_says_so(
    systemctl: Systemctl, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["service", "install"])
    main(["service", "stop"])
    capsys.readouterr()

    assert main(["service", "install"]) == 0

    assert "already, and is started again" in capsys.readouterr().out


def test_a_service_that_failed_is_started_though_its_manager_listens(
    home: Path, systemctl: Systemctl, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody but the manager listens there, and a look at the socket would start a daemon."""
    main(["service", "install"])
    systemctl.failed.add("umad.service")
    path = home / "run" / "umad" / "umad.sock"
    path.parent.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as manager:
        manager.bind(str(path))
        manager.listen()
        manager.setblocking(False)

        assert main(["service", "start"]) == 0
        systemctl.active.discard("umad.service")
        systemctl.failed.add("umad.service")
        assert main(["service", "install"]) == 0

        with pytest.raises(BlockingIOError):
            manager.accept()
    assert capsys.readouterr().err == ""


def test_a_daemon_on_a_socket_that_only_this_shell_names_is_no_other_daemon_of_the_service(
    home: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["service", "install"])
    main(["service", "stop"])
    path = home / "own.sock"
    owned = SocketFile.claim(path)
    monkeypatch.setenv("UMAD_SOCKET", str(path))
    try:
        assert main(["service", "start"]) == 0
    finally:
        owned.close()


def test_a_socket_with_too_long_a_path_is_refused_now(
    home: Path,
    systemctl: Systemctl,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("UMAD_SOCKET", f"{home}/{'x' * 120}.sock")

    assert main(["service", "install"]) == 2

    assert "this system takes 107" in capsys.readouterr().err
    assert not units(home).exists()


@pytest.mark.parametrize(
    ("address", "says"),
    [("0.0.0.0:8080", "--api-key-file"), ("nonsense", "--http")],
)
def test_an_address_that_the_daemon_would_refuse_is_refused_now(
    home: Path,
    systemctl: Systemctl,
    capsys: pytest.CaptureFixture[str],
    address: str,
    says: str,
) -> None:
    assert main(["service", "install", "--http", address]) == 2

    assert says in capsys.readouterr().err
    assert not units(home).exists()


def test_a_wrong_configuration_is_refused_now_and_not_at_the_next_login(
    home: Path, systemctl: Systemctl, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "umad.yaml"
    path.write_text("ctx_sise: 4096\n")

    assert main(["service", "install", "--config", str(path)]) == 2

    assert "ctx_size" in capsys.readouterr().err
    assert not units(home).exists()


def test_what_only_this_shell_sets_is_named_and_does_not_reach_the_daemon(
    home: Path,
    systemctl: Systemctl,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("UMAD_HTTP", "127.0.0.1:8080")

    assert main(["service", "install"]) == 0

    assert "UMAD_HTTP (http)" in capsys.readouterr().err
    assert "127.0.0.1" not in (units(home) / "umad.service").read_text()
    assert "umad.service" not in systemctl.enabled


def test_a_dry_run_prints_and_changes_nothing(
    home: Path, systemctl: Systemctl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["service", "install", "--dry-run"]) == 0

    out = capsys.readouterr().out
    assert "ListenStream=%t/umad/umad.sock" in out
    assert "ExecStart=:" in out
    assert not units(home).exists()
    assert systemctl.asked == []


def test_a_daemon_by_hand_has_to_end_first(
    home: Path, systemctl: Systemctl, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "run" / "umad" / "umad.sock"
    path.parent.parent.mkdir(mode=0o700)
    owned = SocketFile.claim(path)
    try:
        assert main(["service", "install"]) == 1
    finally:
        owned.close()

    assert f"another daemon (pid {os.getpid()}) owns {path}" in capsys.readouterr().err
    assert not units(home).exists()


def test_the_state_is_json_for_programs(
    systemctl: Systemctl, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["service", "install"])
    systemctl.connected()
    capsys.readouterr()

    assert main(["service", "status", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {
        "manager": "systemd",
        "state": "running",
        "pid": 4711,
        "restarts": 0,
        "words": "ready: nano=1",
    }


def test_a_service_that_failed_ends_with_1_and_names_the_log(
    systemctl: Systemctl, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["service", "install"])
    systemctl.active.clear()
    systemctl.failed.add("umad.service")
    capsys.readouterr()

    assert main(["service", "status"]) == 1

    assert "umad service logs" in capsys.readouterr().out


def test_stop_and_start(systemctl: Systemctl) -> None:
    main(["service", "install"])

    assert main(["service", "stop"]) == 0
    assert main(["service", "status"]) == 3
    assert main(["service", "start"]) == 0
    assert main(["service", "status"]) == 0


@pytest.mark.parametrize("command", ["start", "stop", "logs"])
def test_without_an_installation_a_command_says_what_to_do(
    systemctl: Systemctl, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main(["service", command]) == 2

    assert "umad service install" in capsys.readouterr().err


def test_a_machine_without_a_service_manager_is_told_what_to_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = partial(choice.service_manager, booted=home / "none")
    monkeypatch.setattr(work, "service_manager", manager)
    monkeypatch.setattr(sys, "platform", "linux")

    assert main(["service", "install"]) == 1

    assert "umad serve" in capsys.readouterr().err


def test_every_state_has_words() -> None:
    assert set(work._WORDS) == set(ServiceState)


def logs(home: Path, unit: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
    """A process of its own, since it is replaced."""
    folder = home / "bin"
    folder.mkdir()
    for name, text in {
        "journalctl": 'echo "$@"',
        "tail": r'printf "%s\n" "$@"',
        "systemctl": f'case "$*" in *UnitPath*) echo "UnitPath={units(home)}";; *) echo '
        "LoadState=loaded;; esac",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    units(home).mkdir(parents=True)
    (units(home) / "umad.service").write_text(f"# Written by umad service install\n{unit}")
    program = (
        "import sys; from pathlib import Path; from umad.system_service import choice; "
        f"choice._BOOTED = Path({str(home)!r}); sys.platform = 'linux'; "
        "from umad.cli.app import main; sys.exit(main(['service', 'logs', '-n', '7', '-f']))"
    )

    return subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_logs_becomes_the_program_that_has_them(home: Path) -> None:
    done = logs(home)

    assert done.stdout.split() == ["--user-unit=umad.service", "--lines=7", "--follow"]
    assert done.returncode == 0


def test_logs_that_the_configuration_leads_into_a_file_are_read_there(home: Path) -> None:
    config = home / ".config" / "umad" / "umad.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("logging: {file: ~/umad.log}\n")

    done = logs(home)

    assert done.stdout.split() == ["-n", "7", "-F", str(home / "umad.log")]


def test_logs_are_those_of_the_service_and_not_of_what_this_shell_would_start(home: Path) -> None:
    config = home / "its own.yaml"
    config.write_text("logging: {file: /srv/umad.log}\n")

    done = logs(home, f'[Service]\nExecStart=:"/usr/bin/umad" "serve" "--config={config}"\n')

    assert done.stdout.split() == ["-n", "7", "-F", "/srv/umad.log"]


def test_logs_are_looked_for_by_the_variables_of_the_service_and_not_of_this_shell(
    home: Path,
) -> None:
    for name in ("its", "ours"):
        config = home / name / "umad" / "umad.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(f"logging: {{file: /srv/{name}.log}}\n")
    unit = f'[Service]\nEnvironment="XDG_CONFIG_HOME={home / "its"}"\n'

    done = logs(home, unit, XDG_CONFIG_HOME=str(home / "ours"))

    assert done.stdout.split() == ["-n", "7", "-F", "/srv/its.log"]
