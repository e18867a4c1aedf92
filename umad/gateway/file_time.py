"""Tells when a model's file was last written, as the dialects' lists do. Pure.

The daemon looked at the file when the model was loaded (`modified_s` of its row). A file that was
gone by then has no time; lists that need one say 1970.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def written_s(model: Mapping[str, Any]) -> int:
    """Seconds since 1970."""
    return int(model.get("modified_s") or 0)


def written_at(model: Mapping[str, Any]) -> str:
    """RFC 3339, such as 2026-01-31T12:00:00Z."""
    return datetime.fromtimestamp(written_s(model), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
