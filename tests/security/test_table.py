"""SECURITY.md names tests and files that are there, and every test of this folder."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()
HERE = Path(__file__).parent


def test_every_test_that_the_table_names_is_there() -> None:
    named = set(re.findall(r"`(tests/\w+/test_\w+\.py)`", TEXT))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_file_that_the_table_names_is_there() -> None:
    named = set(re.findall(r"`(umad/[\w/]+\.py)`", TEXT))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_test_of_this_folder_is_in_the_table() -> None:
    files = {path.name for path in HERE.glob("test_*.py")} - {Path(__file__).name}
    assert sorted(name for name in files if f"`tests/security/{name}`" not in TEXT) == []
