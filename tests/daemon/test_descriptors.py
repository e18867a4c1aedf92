"""As many connections as there are descriptors for, in a process of its own limits."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from umad.daemon.descriptors import fitting_connections

soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(fitting_connections(wanted), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "fitting", "raised"),
    [
        (500, 500, 256, 256, 500),
        (100, 500, 256, 256, 304),
        (64, 100, 256, 52, 100),
        (40, 40, 256, 1, 40),
    ],
)
def test_connections_fit_the_descriptors_there_are(
    soft: int, hard: int, wanted: int, fitting: int, raised: int
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(wanted)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 0, ended.stderr

    assert ended.stdout.split() == [str(fitting), str(raised)]
