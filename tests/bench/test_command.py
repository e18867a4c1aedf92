"""What every benchmark's command line does alike: checks early, one line on failure, results."""

import argparse
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench import __main__ as pack
from bench import command
from bench.errors import BenchError


def ran(arguments: list[str], document: dict[str, object] | None = None) -> int:
    def run(options: argparse.Namespace, console: Console) -> None:
        console.print("a table")
        if document is None:
            raise BenchError("nothing was measured")
        command.write(options, document)

    return command.main(command.parser("toy", None, model="nano"), run, arguments)


@pytest.mark.parametrize("asked", [["--json"], ["--json", "-"]])
def test_json_on_stdout_is_alone_there(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = ran(asked, {"benchmark": "toy", "comparisons": []})

    printed = capsys.readouterr()
    assert code == 0
    assert json.loads(printed.out) == {"benchmark": "toy", "comparisons": []}
    assert "a table" in printed.err


def test_a_failure_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    code = ran([])

    assert (code, capsys.readouterr().err) == (1, "error: nothing was measured\n")


def test_a_folder_that_is_missing_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ran(["--json", str(tmp_path / "no" / "result.json")], {"benchmark": "toy"})

    printed = capsys.readouterr()
    assert code == 1
    assert "there is no folder" in printed.err
    assert "a table" not in printed.out


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_a_count_is_a_whole_number_of_at_least_one(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ran(["--threads", text])

    assert ended.value.code == 2
    assert "--threads" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["-0.1", "nan", "inf", "soon"])
def test_a_time_is_a_finite_number_of_seconds(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        command.seconds(text)


def test_an_unknown_benchmark_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert pack.main(["mixd"]) == 2
    assert "did you mean mixed?" in capsys.readouterr().err


@pytest.mark.parametrize("name", pack.BENCHMARKS)
def test_every_benchmark_lists_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        pack.main([name, "--help"])

    assert ended.value.code == 0
    assert "--json [FILE]" in capsys.readouterr().out
