"""systemd keeps one socket and one service, whatever is asked. The systemctl is a stand-in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.system_service.stand_ins import Systemctl
from umad.errors import BadConfig, Unsupported
from umad.system_service.job import Job
from umad.system_service.programs import Ran
from umad.system_service.status import ServiceState
from umad.system_service.systemd import Systemd, units_folder, with_runtime_folder

JOB = Job(command=("/usr/bin/umad", "serve"), environment={"V": "1"})
UPGRADED = replace(JOB, environment={"V": "2"})


def test_an_installation_listens_and_starts_nothing_yet(tmp_path: Path) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)

    done = umad.install(JOB)

    assert {one.name for one in tmp_path.iterdir()} == {"umad.socket", "umad.service"}
    assert (done.changed, done.restarted) == (True, False)
    assert systemctl.enabled == {"umad.socket"}
    assert umad.status().state is ServiceState.WAITING


def test_the_first_connection_starts_it(tmp_path: Path) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)
    umad.install(JOB)

    systemctl.connected()

    now = umad.status()
    assert (now.state, now.pid, now.words) == (ServiceState.RUNNING, 4711, "ready: nano=1")


def test_with_http_it_starts_at_once_and_at_each_login(tmp_path: Path) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)

    umad.install(replace(JOB, at_login=True))

    assert systemctl.enabled == {"umad.socket", "umad.service"}
    assert umad.status().state is ServiceState.RUNNING

    umad.install(JOB)

    assert systemctl.enabled == {"umad.socket"}


def test_a_second_installation_writes_nothing_and_restarts_nothing(tmp_path: Path) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)
    umad.install(JOB)
    systemctl.connected()
    systemctl.asked.clear()

    done = umad.install(JOB)

    assert (done.changed, done.restarted) == (False, False)
    assert not {"daemon-reload", "restart umad.service"} & set(systemctl.asked)
    assert not [one for one in systemctl.asked if one.startswith("stop")]


def test_an_upgrade_restarts_the_daemon_once_and_the_socket_listens_throughout(
    tmp_path: Path,
) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)
    umad.install(JOB)
    systemctl.connected()
    systemctl.asked.clear()

    done = umad.install(UPGRADED)

    assert (done.changed, done.restarted) == (True, True)
    assert systemctl.restarts == 1
    assert not [one for one in systemctl.asked if one.startswith("stop")]


def test_an_upgrade_of_a_daemon_that_does_not_run_starts_none(tmp_path: Path) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)
    umad.install(JOB)

    done = umad.install(UPGRADED)

    assert (done.changed, done.restarted) == (True, False)
    assert umad.status().state is ServiceState.WAITING


def test_another_socket_is_listened_on_instead_of_the_old_one(tmp_path: Path) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)
    umad.install(JOB)
    systemctl.connected()
    systemctl.asked.clear()

    umad.install(replace(JOB, socket="/tmp/other.sock"))

    assert "stop umad.socket umad.service" in systemctl.asked
    assert systemctl.asked.index("start umad.socket") > systemctl.asked.index("daemon-reload")
    assert umad.status().state is ServiceState.RUNNING


def test_a_stop_stops_the_listening_too(tmp_path: Path) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)
    umad.install(JOB)
    systemctl.connected()

    umad.stop()

    assert umad.status().state is ServiceState.STOPPED
    assert systemctl.active == set()

    umad.start()

    assert umad.status().state is ServiceState.RUNNING


@pytest.mark.parametrize("unit", ["umad.service", "umad.socket"])
def test_a_unit_that_failed_is_told_with_the_reason(tmp_path: Path, unit: str) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)
    umad.install(JOB)
    systemctl.active.clear()

    systemctl.failed.add(unit)

    assert umad.status().state is ServiceState.FAILED
    assert umad.status().words == "exit-code"

    umad.start()

    assert umad.status().state is ServiceState.RUNNING


def test_an_uninstallation_leaves_nothing(tmp_path: Path) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)
    umad.install(JOB)
    systemctl.connected()

    assert umad.uninstall()

    assert systemctl.active == systemctl.enabled == set()
    assert not list(tmp_path.iterdir())
    assert umad.status().state is ServiceState.ABSENT
    assert not umad.uninstall()


def test_a_unit_of_somebody_else_is_not_stopped_before_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "umad.service").write_text("[Service]\nExecStart=/usr/bin/umad serve\n")
    systemctl = Systemctl(loaded=True, active={"umad.service"}, enabled={"umad.service"})

    with pytest.raises(BadConfig, match="was not written by umad service install"):
        Systemd(tmp_path, systemctl).uninstall()

    assert systemctl.active == systemctl.enabled == {"umad.service"}


def test_an_installation_that_was_interrupted_before_systemd_read_it_is_done_by_the_next_one(
    tmp_path: Path,
) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)
    umad.install(JOB)
    systemctl.connected()
    systemctl.asked.clear()
    systemctl.unread.add("umad.service")

    done = umad.install(JOB)

    assert (done.changed, done.restarted) == (True, True)
    assert "daemon-reload" in systemctl.asked
    assert systemctl.restarts == 1


@dataclass(slots=True)
class Interrupted:
    """A systemctl that the user interrupts before the change with this number is asked for."""

    systemctl: Systemctl
    changes_left: int

    def __call__(self, words: Sequence[str]) -> Ran:
        if "show" not in words:
            if not self.changes_left:
                raise KeyboardInterrupt
            self.changes_left -= 1
        return self.systemctl(words)


@pytest.mark.parametrize("changes", range(6))
def test_an_upgrade_that_was_interrupted_anywhere_is_done_and_told_by_the_next_one(
    tmp_path: Path, changes: int
) -> None:
    systemctl = Systemctl()
    Systemd(tmp_path, systemctl).install(JOB)
    systemctl.connected()
    with pytest.raises(KeyboardInterrupt):
        Systemd(tmp_path, Interrupted(systemctl, changes)).install(UPGRADED)

    done = Systemd(tmp_path, systemctl).install(UPGRADED)

    assert (done.changed, done.restarted) == (True, True)
    assert systemctl.restarts == 1
    assert {one.name for one in tmp_path.iterdir()} == {"umad.socket", "umad.service"}
    assert not Systemd(tmp_path, systemctl).install(UPGRADED).changed


@pytest.mark.parametrize("changes", range(7))
def test_a_change_of_the_socket_that_was_interrupted_anywhere_is_done_by_the_next_one(
    tmp_path: Path, changes: int
) -> None:
    moved = replace(JOB, socket="/tmp/other.sock")
    systemctl = Systemctl()
    Systemd(tmp_path, systemctl).install(JOB)
    systemctl.connected()
    with pytest.raises(KeyboardInterrupt):
        Systemd(tmp_path, Interrupted(systemctl, changes)).install(moved)
    systemctl.asked.clear()

    done = Systemd(tmp_path, systemctl).install(moved)

    assert done.changed
    assert systemctl.asked.index("start umad.socket") > systemctl.asked.index(
        "stop umad.socket umad.service"
    )
    assert "umad.socket" in systemctl.active
    assert not Systemd(tmp_path, systemctl).install(moved).changed


def test_a_first_installation_that_was_interrupted_can_be_taken_back(tmp_path: Path) -> None:
    systemctl = Systemctl()
    with pytest.raises(KeyboardInterrupt):
        Systemd(tmp_path, Interrupted(systemctl, 1)).install(JOB)

    assert Systemd(tmp_path, systemctl).uninstall()

    assert not list(tmp_path.iterdir())


def test_a_service_that_failed_may_be_listened_for_still(tmp_path: Path) -> None:
    systemctl = Systemctl()
    umad = Systemd(tmp_path, systemctl)
    umad.install(JOB)
    systemctl.failed.add("umad.service")

    assert umad.status().state is ServiceState.FAILED
    assert umad.status().listens

    systemctl.active.clear()

    assert not umad.status().listens


def test_the_command_line_that_is_installed_is_known(tmp_path: Path) -> None:
    odd = replace(JOB, command=("/opt/a b/100%/umad", "serve", '--config=/x "y" \\ $HOME %% é', ""))
    umad = Systemd(tmp_path, Systemctl())
    before = umad.command()
    umad.install(odd)

    assert before == ()
    assert umad.command() == odd.command


def test_the_variables_that_are_installed_are_known(tmp_path: Path) -> None:
    environment = {"UMAD_MODELS": '/a b/100% "y" \\ $HOME %% é=\u2028', "HF_HOME": "/hf"}
    umad = Systemd(tmp_path, Systemctl())
    before = umad.environment()
    umad.install(replace(JOB, environment=environment))

    assert before == {}
    assert umad.environment() == environment


def test_units_lie_where_systemd_looks_and_not_where_only_a_shell_does(tmp_path: Path) -> None:
    """A variable of ~/.bashrc is none of the user's systemd, which was started before."""
    usual, shells = tmp_path / ".config/systemd/user", tmp_path / "dots/systemd/user"
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "dots")}

    def found(unit_path: str, *, answers: bool = True) -> Path:
        return units_folder(environ, Systemctl(unit_path=unit_path, answers=answers))

    assert found(f"/run/user/1/x {usual} /etc/systemd/user") == usual
    assert found(f"{shells} /etc/systemd/user") == shells
    assert found(f"{shells} {usual}") == shells
    assert found("/etc/systemd/user") == shells
    assert found("", answers=False) == shells


def test_without_a_user_manager_nothing_is_written_and_linger_is_named(tmp_path: Path) -> None:
    umad = Systemd(tmp_path, Systemctl(answers=False))

    with pytest.raises(Unsupported, match="loginctl enable-linger"):
        umad.install(JOB)

    assert not list(tmp_path.iterdir())


def test_a_unit_of_a_package_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "umad.service"
    theirs.write_text("[Service]\nExecStart=/usr/bin/umad serve\n")
    systemctl = Systemctl()

    with pytest.raises(BadConfig, match="was not written by umad service install"):
        Systemd(tmp_path, systemctl).install(JOB)

    assert list(tmp_path.iterdir()) == [theirs]
    assert systemctl.asked == []


def test_units_lie_where_systemd_looks() -> None:
    assert units_folder({"HOME": "/home/ann"}) == Path("/home/ann/.config/systemd/user")
    named = {"HOME": "/home/ann", "XDG_CONFIG_HOME": "/home/ann/etc"}
    assert units_folder(named) == Path("/home/ann/etc/systemd/user")


def test_the_runtime_folder_that_a_login_named_is_left_as_it_is() -> None:
    assert with_runtime_folder({"XDG_RUNTIME_DIR": "/run/user/1"}, 1) == {}
    assert with_runtime_folder({}, 4_000_000) == {}


def test_the_journal_is_asked_for_the_log(tmp_path: Path) -> None:
    umad = Systemd(tmp_path, Systemctl())

    assert umad.own_log is None
    assert umad.log_command(5, follow=False) == (
        "journalctl",
        "--user-unit=umad.service",
        "--lines=5",
        "--no-pager",
    )
