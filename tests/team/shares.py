"""Gives a process and its children a share of the cores that others' work makes no smaller. Linux.

Machines of a team have cores of their own; hosts of `tests.team.lan` share those of this one. A
quota of a control group comes near to it: what a host may compute in each few milliseconds is
bounded, so another host's load leaves it what it has, as long as all quotas together fit what the
machine has free. It is no machine of its own: caches and memory bandwidth are shared. Not a test.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Short beside a step: a group that has used its part waits for the rest of a period.
_PERIOD_US = 5_000


@contextmanager
def share(name: str, cores: float, *, root: Path = Path("/")) -> Iterator[tuple[str, ...]]:
    """Words before a command whose share it is. Its process id stays the command's.

    Raises OSError where control groups cannot be made. root: "/" except in tests.
    """
    quota_us = round(_PERIOD_US * cores)
    parent, is_second = _own(root)
    folder = parent / f"umad-team-{os.getpid()}-{name}"
    folder.mkdir()
    try:
        if is_second:
            (folder / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}\n")
        else:
            (folder / "cpu.cfs_period_us").write_text(f"{_PERIOD_US}\n")
            (folder / "cpu.cfs_quota_us").write_text(f"{quota_us}\n")
        procs = folder / "cgroup.procs"
        yield ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(procs))
    finally:
        folder.rmdir()


def _own(root: Path) -> tuple[Path, bool]:
    """The group of this process, so that its weight holds for its shares, too; and whether it is of
    version 2."""
    groups = root / "sys/fs/cgroup"
    lines = (root / "proc/self/cgroup").read_text().splitlines()
    of = {names: path for _, names, path in (one.split(":", 2) for one in lines if one)}
    for names, path in of.items():
        if "cpu" in names.split(","):  # version 1
            return groups / names / path.lstrip("/"), False
    # Version 2: a group that has processes cannot have parts that share cores. The root can.
    (groups / "cgroup.subtree_control").write_text("+cpu\n")
    return groups, True
