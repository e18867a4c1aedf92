"""Finds the folder for measurements that umad can repeat at any time: one folder per user.

    $XDG_CACHE_HOME/umad, else
    macOS   ~/Library/Caches/umad
    others  ~/.cache/umad

Pure: the caller passes environment and platform in. Not: the files in the folder, or their writers.
"""

from collections.abc import Mapping
from pathlib import Path


def cache_folder(environ: Mapping[str, str], platform: str) -> Path:
    """The folder, whether it exists or not. platform: as `sys.platform`."""
    # The XDG base directory specification ignores relative paths.
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "umad"
    home = Path(environ.get("HOME") or "~").expanduser()
    return home / ("Library/Caches" if platform == "darwin" else ".cache") / "umad"
