"""The manual page says what the commands say."""

import shutil
import subprocess
from pathlib import Path

import click
import pytest

from umad.cli.app import umad
from umad.cli.manual import manual_page

PAGE = Path(__file__).parents[2] / "docs" / "umad.1"


def test_the_written_page_is_that_of_the_commands() -> None:
    assert PAGE.read_text(encoding="utf-8") == manual_page(), "make manual writes it anew"


def test_every_command_and_each_of_its_options_has_its_place() -> None:
    page = manual_page().replace("\\-", "-")

    for name, command in umad.commands.items():
        assert f".SS umad {name}" in page
        if isinstance(command, click.Group):
            continue
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.opts[0] in page, (name, parameter.opts)


def test_nothing_in_a_help_can_be_a_request_of_roff() -> None:
    @click.group()
    def root() -> None:
        """Root."""

    @root.command()
    @click.option("--odd", help=".so /etc/passwd and a \\ backslash")
    def evil(odd: str) -> None:
        """.TH is no request here.

        'nor is this.
        """

    lines = manual_page(root).splitlines()

    assert r"\&.TH is no request here." in lines
    assert r"\&'nor is this." in lines
    assert r"\&.so /etc/passwd and a \e backslash" in lines


def test_exit_codes_are_those_of_the_commands() -> None:
    page = manual_page()

    for code in ("0", "1", "2", "3", "4", "130"):
        assert f".TP\n\\fB{code}\\fR\n" in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_formatter_finds_nothing_wrong() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-K", "utf-8", "-ww", "-z", str(PAGE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
