"""Looks whether a disk has room, before a download and during it. Not: making room."""

import os
from pathlib import Path

from umad.errors import DiskFull


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write where `folder` is, or will be made."""
    for one in (folder, *folder.parents):
        try:
            found = os.statvfs(one)
        except FileNotFoundError:
            continue
        return found.f_bavail * found.f_frsize
    raise FileNotFoundError(folder)


def check_room(folder: Path, *, what: str, needed_bytes: int, keep_free_bytes: int) -> None:
    """Raise `DiskFull`, with the figures, where `needed_bytes` more would leave too little."""
    free = free_bytes(folder)
    if free - needed_bytes >= keep_free_bytes:
        return
    raise DiskFull(
        f"{what} needs {size_text(needed_bytes)} more on the disk of {folder}, which has "
        f"{size_text(free)} free, of which {size_text(keep_free_bytes)} stay free: make room, "
        "or name a folder on another disk (HF_HUB_CACHE, UMAD_MODELS)"
    )


def size_text(n_bytes: int) -> str:
    """A size for a person, as makers of disks and hubs count: 4.7 GB."""
    size = float(n_bytes)
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
