"""Finds the control groups that this process is in, and what they allow it (Linux).

A limit may stand at any group between the process and the root: a service with `MemoryMax=` has a
group of its own deep in the tree, a container may see its own as the root. All of them hold, so the
lowest counts. Version 2 of the kernel's interface, version 1, and both mounted at once.
Whatever cannot be read sets no limit; other platforms have none.
Not: how full a group is (`umad.daemon.pressure_sources`). root: "/" except in tests.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
# Groups lie a dozen deep at most; a path that names more is not believed.
_MOST_GROUPS = 64
# A limit of version 1 that is not set is the largest number of pages.
_NO_LIMIT = 2**60


def own_groups(controller: str, root: Path = ROOT) -> Iterator[Path]:
    """The folders of this process's group and of all above it.

    controller: as in version 1's hierarchies ("memory", "cpu"); "" for the one of version 2.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller not in controllers.split(","):
            continue
        base = _base(root / "sys/fs/cgroup", controller)
        own = PurePosixPath(path)
        # A process in a container may see a path that the container does not have. Its own group is
        # then what is mounted.
        folder = base / own.relative_to("/") if own.is_absolute() else base
        folder = folder if folder.is_dir() else base
        for _ in range(_MOST_GROUPS):
            yield folder
            if folder == base or base not in folder.parents:
                return
            folder = folder.parent


def memory_limit_2(folder: Path) -> int | None:
    """The memory that a group of version 2 may have; None for any amount. Above `memory.high` the
    kernel slows its processes down, so that counts, too.
    """
    found = [number(folder / name) for name in ("memory.max", "memory.high")]
    return min([one for one in found if one is not None], default=None)


def memory_limit_1(folder: Path) -> int | None:
    """The memory that a group of version 1 may have; None for any amount."""
    found = number(folder / "memory.limit_in_bytes")
    return None if found is None or found >= _NO_LIMIT else found


def memory_limit(root: Path = ROOT) -> int | None:
    """The most memory that this process and those beside it in its groups may have; None where no
    group limits it.
    """
    found = [memory_limit_2(folder) for folder in own_groups("", root)]
    found += [memory_limit_1(folder) for folder in own_groups("memory", root)]
    return min([one for one in found if one is not None], default=None)


def cores_limit(root: Path = ROOT) -> int | None:
    """The cores that this process's groups give it all the time, at least 1; None where no group
    limits them.
    """
    found = [_cores(*_text(one / "cpu.max").partition(" ")[::2]) for one in own_groups("", root)]
    found += [
        _cores(_text(one / "cpu.cfs_quota_us"), _text(one / "cpu.cfs_period_us"))
        for one in own_groups("cpu", root)
    ]
    return min([one for one in found if one is not None], default=None)


def number(path: Path) -> int | None:
    """The number in a file; None where there is none ("max")."""
    text = _text(path)
    return int(text) if text.isdigit() else None


def _base(groups: Path, controller: str) -> Path:
    if controller:
        return groups / controller
    # Where both versions are mounted, version 2 has a folder of its own.
    return groups if (groups / "cgroup.controllers").exists() else groups / "unified"


def _cores(quota: str, period: str) -> int | None:
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return None  # "max", or -1 in version 1
    return max(1, int(quota) // int(period))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except (OSError, ValueError):
        return ""
