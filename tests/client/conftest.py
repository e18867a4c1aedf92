from pathlib import Path

import pytest


@pytest.fixture
def path(short_tmp_path: Path) -> str:
    """Where a test's daemon listens."""
    return str(short_tmp_path / "s")
