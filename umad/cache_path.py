"""Where umad keeps what it has measured and could measure again: one folder per user.

    $XDG_CACHE_HOME/umad, else
    macOS   ~/Library/Caches/umad
    others  ~/.cache/umad

Pure: environment and platform are handed in. Not: what lies there or who writes it.
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
