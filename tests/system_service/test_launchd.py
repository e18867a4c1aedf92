"""launchd keeps one job, whatever is asked in whatever order. The launchctl is a stand-in."""

import plistlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system_service.stand_ins import Launchctl
from umad.errors import BadConfig, Unsupported
from umad.system_service.job import Job
from umad.system_service.launchd import Launchd, agent_place
from umad.system_service.status import ServiceState

JOB = Job(command=("/opt/homebrew/bin/umad", "serve"), environment={"V": "1"}, stop_s=2.0)
UPGRADED = replace(JOB, environment={"V": "2"})


def no_pause(_: float) -> None:
    """The stand-in goes on at each look."""


def service(home: Path, launchctl: Launchctl) -> Launchd:
    return Launchd(agent_place(home, 501), launchctl, pause=no_pause)


def test_an_installation_writes_the_list_and_loads_it(tmp_path: Path) -> None:
    launchctl = Launchctl(disabled=True)
    umad = service(tmp_path, launchctl)

    done = umad.install(JOB)

    plist = tmp_path / "Library" / "LaunchAgents" / "umad.daemon.plist"
    assert plistlib.loads(plist.read_bytes())["ProgramArguments"] == list(JOB.command)
    assert (tmp_path / "Library" / "Logs" / "umad").is_dir()
    assert (done.changed, done.restarted) == (True, False)
    assert umad.status().state is ServiceState.RUNNING


def test_the_variables_that_are_installed_are_known(tmp_path: Path) -> None:
    umad = service(tmp_path, Launchctl())
    before = umad.environment()
    umad.install(replace(JOB, environment={"UMAD_MODELS": "/a b & c"}))

    assert before == {}
    assert umad.environment() == {"UMAD_MODELS": "/a b & c"}


def test_a_second_installation_changes_nothing_and_restarts_nothing(tmp_path: Path) -> None:
    launchctl = Launchctl()
    umad = service(tmp_path, launchctl)
    umad.install(JOB)
    launchctl.asked.clear()

    done = umad.install(JOB)

    assert (done.changed, done.restarted) == (False, False)
    assert set(launchctl.asked) == {"print"}


def test_an_upgrade_waits_for_the_end_of_the_old_daemon_and_starts_one_new(tmp_path: Path) -> None:
    launchctl = Launchctl()
    umad = service(tmp_path, launchctl)
    umad.install(JOB)
    launchctl.drains_for = 3
    launchctl.asked.clear()

    done = umad.install(UPGRADED)

    assert (done.changed, done.restarted) == (True, True)
    assert [one for one in launchctl.asked if one != "print"] == ["bootout", "enable", "bootstrap"]
    assert umad.status().state is ServiceState.RUNNING


def test_a_daemon_that_never_ends_is_an_error_and_no_second_one_is_started(tmp_path: Path) -> None:
    launchctl = Launchctl()
    umad = service(tmp_path, launchctl)
    umad.install(JOB)
    launchctl.drains_for = 10_000

    with pytest.raises(Unsupported, match="does not let go"):
        umad.install(UPGRADED)

    assert launchctl.asked.count("bootstrap") == 1


def test_a_stop_is_a_good_end_and_a_start_undoes_it(tmp_path: Path) -> None:
    launchctl = Launchctl()
    umad = service(tmp_path, launchctl)
    umad.install(JOB)

    umad.stop()
    stopped = umad.status().state
    umad.stop()
    umad.start()

    assert stopped is ServiceState.STOPPED
    assert umad.status().state is ServiceState.RUNNING
    assert umad.status().restarts == 0, "only the death of a daemon is one"


def test_a_stop_waits_for_the_end_so_that_the_start_after_it_starts_a_daemon(
    tmp_path: Path,
) -> None:
    """launchd starts nothing while the old daemon drains, and its good end is no reason later."""
    launchctl = Launchctl()
    umad = service(tmp_path, launchctl)
    umad.install(JOB)
    launchctl.drains_for = 3

    umad.stop()
    umad.start()

    assert launchctl.drains_for == 0
    assert umad.status().state is ServiceState.RUNNING


def test_a_daemon_that_died_is_started_by_a_start(tmp_path: Path) -> None:
    launchctl = Launchctl()
    umad = service(tmp_path, launchctl)
    umad.install(JOB)
    launchctl.dies(2)

    umad.start()

    assert umad.status().state is ServiceState.RUNNING


def test_an_upgrade_that_was_interrupted_while_the_daemon_drained_is_done_by_the_next_one(
    tmp_path: Path,
) -> None:
    launchctl = Launchctl()
    umad = service(tmp_path, launchctl)
    umad.install(JOB)
    launchctl.drains_for = 10_000
    with pytest.raises(Unsupported):
        umad.install(UPGRADED)
    launchctl.drains_for = 0

    done = umad.install(UPGRADED)

    assert done.changed
    assert launchctl.asked.count("bootstrap") == 2


def test_the_list_of_somebody_else_is_left_alone_and_so_is_its_daemon(tmp_path: Path) -> None:
    launchctl = Launchctl(loaded=True, pid=4711)
    plist = tmp_path / "Library" / "LaunchAgents" / "umad.daemon.plist"
    plist.parent.mkdir(parents=True)
    plist.write_bytes(plistlib.dumps({"Label": "umad.daemon"}))
    umad = service(tmp_path, launchctl)

    for order in (umad.uninstall, lambda: umad.install(JOB)):
        with pytest.raises(BadConfig, match="was not written by umad service install"):
            order()

    assert launchctl.pid == 4711


def test_the_command_line_that_is_installed_is_known(tmp_path: Path) -> None:
    umad = service(tmp_path, Launchctl())
    before = umad.command()
    umad.install(JOB)

    assert before == ()
    assert umad.command() == JOB.command


def test_a_daemon_that_died_is_told_with_its_exit_code(tmp_path: Path) -> None:
    launchctl = Launchctl()
    umad = service(tmp_path, launchctl)
    umad.install(JOB)

    launchctl.dies(2)

    assert umad.status().state is ServiceState.FAILED
    assert umad.status().words == "exit code 2"


def test_an_uninstallation_ends_the_daemon_and_leaves_nothing(tmp_path: Path) -> None:
    launchctl = Launchctl()
    umad = service(tmp_path, launchctl)
    umad.install(JOB)

    assert umad.uninstall()
    assert not launchctl.loaded
    assert umad.status().state is ServiceState.ABSENT
    assert not umad.uninstall()


def test_what_ends_the_daemon_waits_for_as_long_as_the_installed_one_may_take(
    tmp_path: Path,
) -> None:
    """Its answers may take long; what the next one may take has nothing to do with it."""
    launchctl = Launchctl()
    umad = service(tmp_path, launchctl)
    umad.install(replace(JOB, stop_s=320.0))
    launchctl.drains_for = 1_500  # five minutes, of a look each 0.2 s

    assert umad.install(UPGRADED).restarted

    umad.install(replace(JOB, stop_s=320.0))
    launchctl.drains_for = 1_500
    assert umad.uninstall()


def test_a_start_without_an_installation_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="umad service install"):
        service(tmp_path, Launchctl()).start()


def test_the_log_is_the_daemons_own_file(tmp_path: Path) -> None:
    umad = service(tmp_path, Launchctl())

    assert umad.own_log == tmp_path / "Library" / "Logs" / "umad" / "umad.log"
    assert umad.log_command(20, follow=True) == ["tail", "-n", "20", "-F", str(umad.own_log)]
