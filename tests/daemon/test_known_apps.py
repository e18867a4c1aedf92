"""Programs that everybody knows have their lanes without configuration, and it is told why."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon.house import Serve, run, until
from umad.config import AppRule, LaneSettings
from umad.daemon.identity import Identity, LaneChoice, LaneRules, own_process
from umad.daemon.known_apps import KINDS, known_app, nearest_known
from umad.daemon.peer import parent_names
from umad.protocol.messages import Sessions
from umad.testing import FakeModel

ROOT = Path(__file__).parents[2]
LANES = {
    "interactive": LaneSettings(priority=10),
    "background": LaneSettings(priority=1),
}
only_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="a script's process is named after the script"
)


def rules(*pairs: tuple[str, str], default: str = "interactive") -> LaneRules:
    return LaneRules(
        lanes=LANES, rules=[AppRule(app=app, lane=lane) for app, lane in pairs], default=default
    )


def choice(lanes: LaneRules, app: str, *parents: str) -> LaneChoice:
    return lanes.choose(app=app, asked=None, of_session=None, parents=lambda: parents)


@pytest.mark.parametrize(
    ("name", "lane"),
    [
        ("code", "interactive"),
        ("Code Helper (Plugin)", "interactive"),
        ("nvim", "interactive"),
        ("Emacs-28.2", "interactive"),
        ("vscode", "interactive"),
        ("Neovim", "interactive"),
        ("gnome-terminal-server", "interactive"),
        ("tmux: server", "interactive"),
        ("iTerm2", "interactive"),
        ("git", "background"),
        ("git-remote-https", "background"),
        ("crond", "background"),
        ("Runner.Worker", "background"),
        ("mdworker_shared", "background"),
        ("localsearch-3", "background"),
    ],
)
def test_editors_and_terminals_are_interactive_and_batch_tools_background(
    name: str, lane: str
) -> None:
    found = known_app(name)

    assert found is not None
    assert found.kind.lane == lane
    # Whatever the default is.
    for default in LANES:
        assert choice(rules(default=default), name).lane == lane


@pytest.mark.parametrize(
    "name", ["python3", "node", "bash", "umad", "systemd", "sshd", "digit", "git-gui"]
)
def test_a_name_that_may_mean_anything_is_not_in_the_table(name: str) -> None:
    assert known_app(name) is None
    assert choice(rules(default="background"), name) == LaneChoice(
        lane="background", by="default_lane"
    )


def test_no_name_stands_under_two_kinds() -> None:
    names = [name for kind in KINDS for name in kind.names]

    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names), "names are compared in small letters"


def test_the_nearest_known_process_above_decides_for_a_program_nobody_knows() -> None:
    lanes = rules()

    hook = choice(lanes, "python3", "bash", "git", "bash", "code")
    editor_of_a_commit = choice(lanes, "python3", "nvim", "git", "bash", "kitty")

    assert hook == LaneChoice(lane="background", by="under git: a git hook")
    assert editor_of_a_commit == LaneChoice(lane="interactive", by="under nvim: an editor")


def test_a_program_of_the_table_is_itself_whatever_started_it() -> None:
    assert choice(rules(), "nvim", "git") == LaneChoice(lane="interactive", by="nvim: an editor")


def test_request_session_and_apps_go_before_the_table_and_each_is_named() -> None:
    lanes = rules(("git*", "interactive"))

    def by(app: str, asked: str | None = None, of_session: str | None = None) -> tuple[str, str]:
        found = lanes.choose(app=app, asked=asked, of_session=of_session)
        return found.lane, found.by

    assert by("cron", asked="interactive") == ("interactive", "the request")
    assert by("cron", of_session="interactive") == ("interactive", "its session was moved")
    assert by("git") == ("interactive", "apps: git*")
    assert by("cron") == ("background", "cron: a timed job")
    assert by("backupd") == ("interactive", "default_lane")


def test_the_processes_above_are_not_looked_at_where_something_else_decides() -> None:
    lanes = rules(("backup*", "background"))

    def never() -> tuple[str, ...]:
        raise AssertionError("looked at")

    for app, asked, of_session in (
        ("x", "background", None),
        ("x", None, "background"),
        ("backupd", None, None),
        ("git", None, None),
    ):
        lanes.choose(app=app, asked=asked, of_session=of_session, parents=never)


def test_a_key_keeps_even_an_editor_below_its_lane_and_that_is_told() -> None:
    found = rules().choose(app="code", asked=None, of_session=None, ceiling="background")

    assert found == LaneChoice(lane="background", by="the lane of its key")


def test_a_lane_that_is_not_configured_is_never_chosen() -> None:
    lanes = LaneRules(lanes={"only": LaneSettings(priority=1)}, rules=[], default="only")

    assert choice(lanes, "code", "git") == LaneChoice(lane="only", by="default_lane")


def test_what_started_a_front_end_says_nothing_about_the_app_it_asks_for() -> None:
    gateway = Identity(uid=1, pid=2, app="umad", path="/bin/umad", parents=lambda: ("cron",))

    assert own_process(gateway, "zed") == (None, tuple)
    path, parents = own_process(gateway, None)
    assert (path, parents()) == ("/bin/umad", ("cron",))


@contextmanager
def under(folder: Path, name: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A command started by a script of that name, as git starts a hook; both are killed."""
    script = folder / name
    script.write_text('#!/bin/sh\n"$@"\nexit $?\n')
    script.chmod(0o755)
    process = subprocess.Popen(
        [str(script), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        process.stdout.close()


@only_linux
def test_the_processes_above_one_are_named_up_to_what_started_the_daemon_too(
    tmp_path: Path,
) -> None:
    tell = "import os, signal; print(os.getpid(), flush=True); signal.pause()"

    with under(tmp_path, "git", sys.executable, "-c", tell) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())

        # Above `git` stands this process, which is the daemon's, and whatever started both.
        assert parent_names(pid) == ("git",)
        assert nearest_known(parent_names(pid)) == known_app("git")


def test_nothing_stands_above_the_daemon_itself_or_a_process_that_has_gone() -> None:
    assert parent_names(os.getpid()) == ()
    assert parent_names(2**30) == ()


@only_linux
def test_a_hooks_script_is_background_and_ps_says_that_git_started_it(
    serve: Serve, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serve(FakeModel(pace_ms=5.0)) as house:
            observer = await house.connect()
            asked = [sys.executable, "-m", "umad", "run", "--max-tokens", "2000", "--raw", "hello"]
            with under(tmp_path, "git", *asked, f"--socket={house.socket}"):

                async def listed() -> bool:
                    return bool(await observer.ask(Sessions(id=1)))

                await until(listed)
                (row,) = await observer.ask(Sessions(id=2))

                assert row["lane"] == "background"
                assert row["lane_by"] == "under git: a git hook"

    run(test())
