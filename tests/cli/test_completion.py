"""`umad completion`: pressing tab offers the words and names of this moment, in each shell."""

import json
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.cli.conftest import Fakes, Umad
from tests.cli.test_run import LONG, first_tokens
from tests.cli.test_running import Spawn
from umad.cli import known_names
from umad.cli.app import main
from umad.cli.completion import COMPLETE_VARIABLE, SHELL_NAMES
from umad.client import ClientOptions
from umad.jobs.book import opened
from umad.jobs.job import PullOrder
from umad.models.store import store_folder

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
# bash's own, also for names of hosts.
BREAKS = " \t\n\"'@><=;|&(:"

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


class Tab:
    """Presses tab after a line, as bash's script tells umad."""

    def __init__(self, patch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capfd = capfd

    def __call__(self, line: str, *, breaks: str = BREAKS) -> list[str]:
        self._patch.setenv(COMPLETE_VARIABLE, "bash_complete")
        self._patch.setenv("COMP_LINE", line)
        self._patch.setenv("COMP_WORDBREAKS", breaks)
        code = main([])
        out, err = self._capfd.readouterr()
        assert (code, err) == (0, ""), "nothing may be written into the line that is typed"
        return [one.partition("\t")[2] for one in out.splitlines() if one.startswith("plain\t")]


@pytest.fixture
def tab(
    plain_environment: None,
    fakes: Fakes,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Tab:
    monkeypatch.setenv("UMAD_SOCKET", str(fakes.socket))
    # A person who has pressed a key is not kept waiting. A test is, where the machine is busy.
    monkeypatch.setattr(known_names, "LOOK_S", PATIENCE_S)
    patient = ClientOptions(connect_s=PATIENCE_S, call_s=PATIENCE_S)
    monkeypatch.setattr(known_names, "_OPTIONS", patient)
    return Tab(monkeypatch, capfd)


def test_commands_and_options_are_offered(tab: Tab) -> None:
    assert {"ps", "priority", "pull"} <= set(tab("umad p"))
    assert "--socket" in tab("umad ps --s")
    assert tab("umad config ") == ["check", "example", "show"]
    assert "goose" in tab("umad launch g")


def test_loaded_models_and_those_on_the_disk_are_offered_where_they_can_be_used(tab: Tab) -> None:
    assert tab("umad unload ") == ["m"]
    assert "nano" in tab("umad load n")
    assert "nano" not in tab("umad unload n")


def test_the_first_word_of_run_may_be_a_model_and_the_second_is_a_prompt(tab: Tab) -> None:
    assert "nano" in tab("umad run na")
    assert tab("umad run nano na") == []


def test_requests_sessions_and_lanes_are_offered(tab: Tab, spawn: Spawn) -> None:
    request = first_tokens(spawn("run", "hello", "--json", "--session", "holiday", *LONG))

    assert request in tab("umad cancel ")
    assert tab("umad forget hol") == ["holiday"]
    assert {"holiday", request} <= set(tab("umad priority "))
    assert tab(f"umad priority {request} b") == ["background"]
    assert tab("umad run --lane i") == ["interactive"]


def test_lanes_of_the_configuration_are_offered(
    tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text(
        "qos: {interactive: {priority: 10}, background: {priority: 1}, batch: {priority: 2}}\n"
    )
    monkeypatch.setenv("UMAD_CONFIG", str(path))

    assert tab("umad run --lane b") == ["background", "batch"]


def test_names_with_a_colon_are_completed_after_the_colon_as_bash_splits_there(tab: Tab) -> None:
    whole = tab("umad pull qwen3-coder:", breaks=" \t\n")
    after = tab("umad pull qwen3-coder:")

    assert "qwen3-coder:30b" in whole
    assert "30b" in after
    assert [f"qwen3-coder:{one}" for one in after] == whole


def test_an_option_with_its_value_is_completed_after_the_sign_or_as_a_whole(tab: Tab) -> None:
    assert tab("umad run --lane=i") == ["interactive"]
    assert tab("umad run --lane=i", breaks=" \t\n") == ["--lane=interactive"]


def test_a_name_that_a_shell_would_obey_is_escaped(tab: Tab, spawn: Spawn) -> None:
    first_tokens(spawn("run", "hello", "--json", "--session", "a $(b) c", *LONG))

    assert tab("umad forget a") == [r"a\ \$\(b\)\ c"]


def test_a_name_that_cannot_be_typed_is_left_out(tab: Tab, spawn: Spawn) -> None:
    first_tokens(spawn("run", "hello", "--json", "--session", "x\nplain\tevil", *LONG))

    assert tab("umad forget x") == []


def test_a_key_starts_no_daemon(
    tab: Tab, monkeypatch: pytest.MonkeyPatch, short_tmp_path: Path
) -> None:
    """A service manager listens, and a connection would start the daemon and load its models."""
    path = short_tmp_path / "umad.sock"
    monkeypatch.setenv("UMAD_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX) as manager:
        manager.bind(str(path))
        manager.listen()
        manager.setblocking(False)

        assert tab("umad unload ") == []

        with pytest.raises(BlockingIOError):
            manager.accept()


def test_jobs_are_offered_by_their_names(tab: Tab) -> None:
    with opened(store_folder(os.environ)) as book:
        job, _ = book.submit(PullOrder(reference="hf:org/repo:Q4_K_M"), owner="")

    assert tab("umad jobs cancel ") == [job.id]
    assert tab("umad jobs follow ") == [job.id]


def test_without_a_daemon_there_are_fewer_names_and_no_error(
    tab: Tab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UMAD_SOCKET", str(tmp_path / "none.sock"))

    assert tab("umad unload ") == []
    assert "nano" in tab("umad load na")


@pytest.mark.parametrize("line", ["umad nonsense ", "umad ps --nonsense ", "umad 'open", "umad"])
def test_a_line_that_means_nothing_offers_nothing_and_says_nothing(tab: Tab, line: str) -> None:
    assert [one for one in tab(line) if one.startswith("nonsense")] == []


def test_a_path_is_left_to_the_shell(
    tab: Tab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(COMPLETE_VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_LINE", "umad load ./mod")

    assert main([]) == 0
    assert capfd.readouterr().out == "file\t\n"


@pytest.mark.parametrize("instruction", ["bash_source", "tcsh_complete", "", "x"])
def test_an_instruction_that_no_script_gives_is_refused(
    instruction: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(COMPLETE_VARIABLE, instruction)

    assert main([]) == 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shell", SHELL_NAMES)
def test_each_script_is_one_that_its_shell_can_read(umad: Umad, shell: str) -> None:
    script = umad("completion", shell)

    assert (script.code, script.err) == (0, "")
    assert f"{shell}_complete" in script.out
    assert f"umad 2>{os.devnull}" in script.out or shell == "bash", "it writes into the line"
    assert 'split -m 1 ","' in script.out or shell != "fish", "a name with a comma ends there"
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    read = subprocess.run(
        [program, "-n"], input=script.out, text=True, capture_output=True, timeout=60
    )
    assert (read.returncode, read.stderr) == (0, "")


def test_another_shell_is_wrong_usage(umad: Umad) -> None:
    ended = umad("completion", "tcsh")

    assert ended.code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in ended.err


# `umad` with more time for the daemon.
PATIENT = f"""
import sys
from umad.cli import known_names
from umad.cli.app import main
from umad.client import ClientOptions
known_names.LOOK_S = {PATIENCE_S}
known_names._OPTIONS = ClientOptions(connect_s={PATIENCE_S}, call_s={PATIENCE_S})
sys.argv[0] = "umad"
sys.exit(main())
"""

PRESS = """
source /dev/stdin <<< "$SCRIPT"
COMP_LINE="$1" COMP_POINT=${#1} COMP_WORDBREAKS="$BREAKS"
_umad_completion umad
printf '%s\\n' "${COMPREPLY[@]}"
"""


@needs_bash
def test_bash_itself_gets_the_names(tmp_path: Path, umad: Umad, fakes: Fakes) -> None:
    program, patient = tmp_path / "umad", tmp_path / "patient.py"
    patient.write_text(PATIENT)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {patient} "$@"\n')
    program.chmod(0o755)
    script = umad("completion", "bash").out

    def press(line: str) -> list[str]:
        done = subprocess.run(
            ["bash", "--norc", "-c", PRESS, "bash", line],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ
            | {
                "SCRIPT": script,
                "BREAKS": BREAKS,
                "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "UMAD_SOCKET": str(fakes.socket),
            },
        )
        assert (done.stderr, done.returncode) == ("", 0)
        return done.stdout.split("\n")[:-1]

    assert press("umad unload ") == ["m"]
    assert "30b" in press("umad pull qwen3-coder:3")
    assert json.dumps(press("umad cancel nobody")) == '[""]'


# A program of its own with umad's completion of these names. It prints the words that it gets.
NAMES = ["qwen3-coder:30b", "user@host=x", "it's", 'say "$HOME"', "with a space"]
COMPLETED = f"""
import json, os, sys
import click
from click.shell_completion import CompletionItem
from umad.cli.completion import COMPLETE_VARIABLE, answer
names = {NAMES!r}
found = lambda context, parameter, typed: [
    CompletionItem(name) for name in names if name.startswith(typed)
]
root = click.Command("umad", params=[
    click.Argument(["name"], nargs=-1, shell_complete=found),
    click.Option(["--name", "option"], shell_complete=found),
])
instruction = os.environ.pop(COMPLETE_VARIABLE, None)
if instruction is not None:
    sys.exit(answer(root, instruction))
print("GOT", json.dumps(sys.argv[1:]), flush=True)
"""
TYPED = {
    "qw": [NAMES[0]],
    "qwen3-coder:3": [NAMES[0]],
    '"qwen3-coder:3': [NAMES[0]],
    "user@h": [NAMES[1]],
    "user@host=": [NAMES[1]],
    "it": [NAMES[2]],
    "'say \"": [NAMES[3]],
    "with\\ a": [NAMES[4]],
    '"with a ': [NAMES[4]],
    "--name=qwen3-coder:3": [f"--name={NAMES[0]}"],
}


@needs_bash
def test_what_bash_puts_into_the_line_is_the_name_that_umad_then_gets(
    tmp_path: Path, umad: Umad
) -> None:
    bash = ["bash", "--norc", "--noprofile", "-i"]
    begins = [f"source {tmp_path}/script"]

    got = _typed_into(bash, begins, TYPED, tmp_path, umad("completion", "bash").out)

    assert dict(zip(TYPED, got, strict=True)) == TYPED


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_what_zsh_puts_into_the_line_is_the_name_that_umad_then_gets(
    tmp_path: Path, umad: Umad
) -> None:
    begins = [f"PATH={tmp_path}:$PATH; autoload -U compinit; compinit -u -D"]
    begins += [f"source {tmp_path}/script"]
    typed = {one: TYPED[one] for one in ("qw", "qwen3-coder:3", "user@h", "it", "with\\ a")}

    got = _typed_into(["zsh", "-f", "-i"], begins, typed, tmp_path, umad("completion", "zsh").out)

    assert dict(zip(typed, got, strict=True)) == typed


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_itself_gets_the_names(tmp_path: Path, umad: Umad) -> None:
    _write_names(tmp_path, umad("completion", "fish").out)
    ask = f'source {tmp_path}/script; for one in $argv; complete -C "umad $one"; end'
    begun = ["qw", "qwen3-coder:3", "user@h", "it", "with"]

    done = subprocess.run(
        ["fish", "--no-config", "-c", ask, *begun],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        | {"PYTHONPATH": str(ROOT)},
    )

    assert (done.stderr, done.returncode) == ("", 0)
    offered = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert offered == [NAMES[0], NAMES[0], NAMES[1], NAMES[2], NAMES[4]]


def _write_names(folder: Path, script: str) -> None:
    """The program with those names, and its shell's script."""
    program = folder / "umad"
    program.write_text(f"#!{sys.executable}\n{COMPLETED}")
    program.chmod(0o755)
    (folder / "script").write_text(script)


def _typed_into(
    shell: list[str], begins: list[str], typed: Iterable[str], folder: Path, script: str
) -> list[list[str]]:
    """What the program gets from each of `typed`, with a tab behind it, in an interactive shell."""
    _write_names(folder, script)
    ours, theirs = pty.openpty()
    environ = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    words = list(typed)
    with subprocess.Popen(
        shell, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
    ) as process:
        try:
            lines = [*begins, *(f"umad {one}\t" for one in words)]
            os.write(ours, "".join(f"{line}\n" for line in lines).encode())
            return _until_got(ours, len(words))
        finally:
            process.kill()
            os.close(theirs)
            os.close(ours)


def _until_got(terminal: int, n: int) -> list[list[str]]:
    """What the program printed, n times."""
    seen = ""
    while len(found := re.findall(r"GOT (\[.*?\])\r", seen)) < n:
        assert select.select([terminal], [], [], 60)[0], seen
        seen += os.read(terminal, 4096).decode()
    return [json.loads(one) for one in found]
