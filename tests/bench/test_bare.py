"""CPU time of bare llama.cpp, told apart from loading: a program that burns what it is asked."""

import stat
import sys
from pathlib import Path

import pytest

from bench import bare
from bench.errors import BenchError

_LOADS_AND_RUNS = """#!{python}
import sys, time
began_s = time.process_time()  # Python's own start is no part of it
requests = len(sys.argv[sys.argv.index("-npl") + 1].split(","))
tokens = int(sys.argv[sys.argv.index("-ntg") + 1])
while time.process_time() - began_s < 0.1 + requests * tokens * 0.01:
    pass
"""


def program(folder: Path, script: str) -> Path:
    path = folder / "llama-batched-bench"
    path.write_text(script.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_cpu_of_a_token_is_without_loading(tmp_path: Path) -> None:
    burner = program(tmp_path, _LOADS_AND_RUNS)

    cpu_s = bare.cpu_s_per_token(
        burner, tmp_path / "any.gguf", prompt_tokens=8, tokens=10, requests=4, threads=1
    )

    assert cpu_s == pytest.approx(0.01, rel=0.2)


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    failing = program(tmp_path, "#!{python}\nimport sys\nsys.exit('no such model')\n")

    with pytest.raises(BenchError, match="no such model"):
        bare.cpu_s_per_token(
            failing, tmp_path / "any.gguf", prompt_tokens=8, tokens=10, requests=4, threads=1
        )
