"""`umad bench`: options as every command has them, and a clear line where there is no checkout."""

import subprocess
import sys
from pathlib import Path

import pytest

from umad.cli.bench import become, with_json
from umad.errors import BadRequest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        (["--json"], ["--json", "-"]),
        (["--json", "--charts", "dir"], ["--json", "-", "--charts", "dir"]),
        (["--json", "file.json"], ["--json", "file.json"]),
        (["--charts", "dir"], ["--charts", "dir"]),
    ],
)
def test_json_alone_goes_to_stdout(given: list[str], passed_on: list[str]) -> None:
    assert with_json(given) == passed_on


def test_without_a_checkout_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"source checkout.*make bench"):
        become(tmp_path, ["mixed"])


def test_the_benchmark_keeps_its_own_help_and_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "bench.py").write_text("raise SystemExit('the wrong one')")

    def ran(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "umad", "bench", *options],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    told, wrong, near = ran("longctx", "--help"), ran("longctx", "--depths", "0"), ran("longctxt")

    assert (told.returncode, "--kv-types" in told.stdout) == (0, True)
    assert (wrong.returncode, "--depths" in wrong.stderr) == (2, True)
    assert (near.returncode, "did you mean 'longctx'?" in near.stderr) == (2, True)
