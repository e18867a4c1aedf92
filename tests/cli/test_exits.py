"""How commands end: exit codes as documented, and one line that says what to do next."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Umad
from umad import cli, errors
from umad.__main__ import main
from umad.cli import app
from umad.cli.exits import exit_code_of, run_command
from umad.errors import UmadError


def all_errors(kind: type[UmadError] = UmadError) -> Iterator[type[UmadError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from all_errors(child)


@pytest.mark.parametrize("kind", list(dict.fromkeys(all_errors())))
def test_every_error_has_one_of_the_documented_codes(kind: type[UmadError]) -> None:
    error = kind.__new__(kind)

    assert exit_code_of(error) in (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.EngineFailed("e"), 1),
        (errors.UnknownModel("e"), 1),
        (errors.PromptTooLong("e"), 1),
        (errors.AlreadyRunning("e"), 1),
        (errors.BadRequest("e"), 2),
        (errors.BadConfig("e"), 2),
        (errors.NoDaemon("e"), 3),
        (errors.Refused("e"), 4),
        (errors.QueueFull("e"), 4),
    ],
)
def test_an_error_is_one_line_and_its_code(
    error: UmadError, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    error.message = "it broke\nhere; mend it"

    @click.command()
    def command() -> None:
        raise error

    assert run_command(command, []) == code
    assert capfd.readouterr().err == "umad: it broke here; mend it\n"


def test_what_a_terminal_would_obey_is_written_out(capfd: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def command() -> None:
        raise errors.ModelLoadFailed("unknown architecture '\x1b[2Jl\xe9on'")

    run_command(command, [])

    assert capfd.readouterr().err == "umad: unknown architecture '\\x1b[2Jl\xe9on'\n"


def test_a_bug_is_one_line_too(capfd: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def command() -> None:
        raise ZeroDivisionError("division by zero")

    assert run_command(command, []) == 1
    err = capfd.readouterr().err
    assert err.startswith("umad: unexpected ZeroDivisionError")
    assert err.count("\n") == 1


def test_an_interrupt_is_130_and_silent(capfd: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def command() -> None:
        raise KeyboardInterrupt

    assert run_command(command, []) == 130
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["srve"], "did you mean 'serve'?"),
        (["zzz"], "there are "),
        (["config", "shwo"], "did you mean 'show'?"),
        (["run", "--temprature", "1"], "--temperature"),
        (["run", "--seed", "abc"], "--seed"),
        (["run", "a", "b", "c"], "put the prompt in quotes"),
        (["cancel"], "REQUEST"),
        (["metrics", "--json", "--csv"], "choose one"),
        (["serve", "--latency-cup", "2"], "--latency-cap"),
    ],
)
def test_wrong_usage_is_2_with_the_nearest_right_one(
    umad: Umad, args: list[str], hint: str
) -> None:
    ended = umad(*args)

    assert ended.code == 2
    assert hint in ended.err
    assert ended.err.count("\n") == 1
    assert "--help" in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    "args",
    [
        ["ps"],
        ["metrics", "--json"],
        ["run", "hello"],
        ["cancel", "r1"],
        ["priority", "s", "background"],
        ["load", "nano"],
        ["unload", "nano"],
    ],
)
def test_without_a_daemon_a_command_is_3_and_says_how_to_start_one(
    umad: Umad, args: list[str]
) -> None:
    ended = umad(*args, "--socket", "/tmp/umad-nobody-listens.sock")

    assert ended.code == 3
    assert ended.err.count("\n") == 1
    assert "umad serve" in ended.err


def test_every_command_that_a_message_names_is_there() -> None:
    package = Path(cli.__file__).parents[1]
    named = {
        word
        for path in package.rglob("*.py")
        for word in re.findall(r": umad ([a-z]+)\b", path.read_text())
    }

    assert {"serve", "load"} <= named
    assert not named - set(app.umad.list_commands(click.Context(app.umad)))


def test_ctrl_c_while_umad_still_starts_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    class CtrlC:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "umad.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "umad.cli.app")
    monkeypatch.setattr(sys, "meta_path", [CtrlC, *sys.meta_path])

    assert main() == 130


def test_help_and_version_are_0(umad: Umad) -> None:
    assert umad("--version").out.startswith("umad ")
    assert "serve" in umad("--help").out
    assert "--latency-cap" in umad("serve", "--help").out
