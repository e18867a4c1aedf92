"""SECURITY.md names tests and files that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()


def test_every_test_that_the_table_names_is_there() -> None:
    named = set(re.findall(r"`(tests/\w+/test_\w+\.py)`", TEXT))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_file_that_the_table_names_is_there() -> None:
    named = set(re.findall(r"`(umad/[\w/]+\.py)`", TEXT))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
