"""`umad bench` becomes the benchmark, and says what to do where there is no checkout."""

import subprocess
import sys
from pathlib import Path

import pytest

from umad.cli.bench import become
from umad.errors import BadRequest

ROOT = Path(__file__).parents[2]


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
