"""Limits of control groups, from the kernel's files, which a folder stands in for.

Where a machine lets them, the last ones ask the kernel itself for groups of version 2. A kernel
that has its controllers in version 1 gives groups of version 2 no limits, so those and the shares
of `tests.team` are tried on files of the documented layout alone.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.team.shares import share
from umad import control_groups
from umad.control_groups import cores_limit, memory_limit
from umad.engine import process

GB = 2**30
SERVICE = "user.slice/app.slice/umad.service"
VERSION_2 = {
    "proc/self/cgroup": f"0::/{SERVICE}\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
}


def lay(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def test_a_service_may_have_what_its_own_group_allows(tmp_path: Path) -> None:
    files = {
        f"sys/fs/cgroup/{SERVICE}/memory.max": f"{4 * GB}",
        f"sys/fs/cgroup/{SERVICE}/cpu.max": "250000 100000",
        "sys/fs/cgroup/memory.max": "max",
    }

    root = lay(tmp_path, {**VERSION_2, **files})

    assert (memory_limit(root), cores_limit(root)) == (4 * GB, 2)


def test_of_all_groups_above_the_lowest_limit_counts(tmp_path: Path) -> None:
    files = {
        f"sys/fs/cgroup/{SERVICE}/memory.max": f"{8 * GB}",
        "sys/fs/cgroup/user.slice/app.slice/memory.high": f"{3 * GB}",
        "sys/fs/cgroup/user.slice/memory.max": f"{6 * GB}",
        f"sys/fs/cgroup/{SERVICE}/cpu.max": "max 100000",
        "sys/fs/cgroup/user.slice/cpu.max": "50000 100000",
    }

    root = lay(tmp_path, {**VERSION_2, **files})

    assert (memory_limit(root), cores_limit(root)) == (3 * GB, 1)


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": f"{2 * GB}"}

    assert memory_limit(lay(tmp_path, {**VERSION_2, **files})) == 2 * GB


def test_groups_of_version_1_limit_too(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "5:memory:/box\n4:cpu,cpuacct:/box\n0::/",
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{5 * GB}",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "300000",
        "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    }

    root = lay(tmp_path, files)

    assert (memory_limit(root), cores_limit(root)) == (5 * GB, 3)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "no group at all"},
        {**VERSION_2, f"sys/fs/cgroup/{SERVICE}/memory.max": "max"},
        {**VERSION_2, f"sys/fs/cgroup/{SERVICE}/cpu.max": "100000 0"},
        {"proc/self/cgroup": "0::/../../../../etc\n"},
    ],
)
def test_what_says_no_number_limits_nothing(tmp_path: Path, files: Mapping[str, str]) -> None:
    root = lay(tmp_path, files)

    assert memory_limit(root) is None
    assert cores_limit(root) is None


def test_models_are_fitted_to_the_group_of_the_daemon_and_not_to_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_bytes = psutil.virtual_memory().total // 2
    lay(tmp_path, {**VERSION_2, f"sys/fs/cgroup/{SERVICE}/memory.max": f"{limit_bytes}"})

    monkeypatch.setattr(process, "memory_limit", lambda: control_groups.memory_limit(tmp_path))

    assert process.memory_bytes() == limit_bytes


# -- shares of cores, as the tests of a team give them ---------------------------------------------


def emptied(folder: Path) -> None:
    """Groups are removed with the kernel's files in them, and folders are not."""
    for one in folder.iterdir():
        one.unlink()


def test_a_share_of_version_2_is_a_quota_of_a_group_below_the_root(tmp_path: Path) -> None:
    root = lay(tmp_path, {**VERSION_2, "sys/fs/cgroup/cgroup.subtree_control": "memory"})
    groups = root / "sys/fs/cgroup"

    with share("studio", 0.4, root=root) as words:
        (folder,) = [one for one in groups.iterdir() if one.name.endswith("-studio")]
        quota = (folder / "cpu.max").read_text()
        files = {one.name for one in folder.iterdir()}
        emptied(folder)

    assert quota == "2000 5000\n"
    assert files == {"cpu.max"}
    assert (groups / "cgroup.subtree_control").read_text() == "+cpu\n"
    assert words[-1] == str(folder / "cgroup.procs")
    assert not folder.exists()


def test_a_share_of_version_1_is_a_part_of_this_processs_group(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "4:cpu,cpuacct:/box\n0::/", "sys/fs/cgroup/cpu,cpuacct/box/x": ""}
    group = lay(tmp_path, files) / "sys/fs/cgroup/cpu,cpuacct/box"

    with share("studio", 0.4, root=tmp_path) as words:
        folder = Path(words[-1]).parent
        said = {one.name: one.read_text().strip() for one in folder.iterdir()}
        emptied(folder)

    assert folder.parent == group
    assert said == {"cpu.cfs_period_us": "5000", "cpu.cfs_quota_us": "2000"}


# -- the kernel's own groups of version 2 ----------------------------------------------------------

OWN = """
from umad.control_groups import cores_limit, memory_limit, own_groups
print(*own_groups(""), sep="\\n")
assert memory_limit() is None or memory_limit() > 0
assert cores_limit() is None or cores_limit() > 0
"""
BOUND_S = 60


@pytest.fixture
def group() -> Iterator[Path]:
    """A group in a group, as a service has one, where the kernel lets this process make it."""
    mounted = Path("/sys/fs/cgroup")
    if not (mounted / "cgroup.controllers").exists():
        mounted /= "unified"
    top = mounted / f"umad-tests-{os.getpid()}"
    try:
        (top / "umad.service").mkdir(parents=True)
        (top / "umad.service/cgroup.procs").write_text("")
    except OSError as error:
        with contextlib.suppress(OSError):
            top.rmdir()
        pytest.skip(f"no group of version 2 can be made here: {error.strerror}")
    yield top / "umad.service"
    ends_s = time.monotonic() + BOUND_S
    for one in (top / "umad.service", top):
        while True:
            try:
                one.rmdir()
                break
            except OSError:  # what ran there is still being taken apart
                assert time.monotonic() < ends_s
                time.sleep(0.02)


def groups_of(group: Path, *before: str) -> list[Path]:
    """Those that a process in a group finds. before: words before its command."""
    entered = ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"))
    asked = subprocess.run(
        [*entered, *before, sys.executable, "-c", OWN],
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    return [Path(line) for line in asked.stdout.splitlines()]


def test_the_kernels_own_groups_are_found_up_to_the_root(group: Path) -> None:
    assert groups_of(group) == [group, group.parent, group.parent.parent]


def test_they_are_found_where_version_2_alone_is_mounted(group: Path) -> None:
    """As on a machine that has no version 1: in a mount namespace that sees it so."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("a mount namespace needs unshare and root")
    alone = Path("/sys/fs/cgroup")
    mounts = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'

    found = groups_of(group, "unshare", "--mount", "sh", "-c", mounts, "sh")

    assert found == [alone / group.parent.name / group.name, alone / group.parent.name, alone]
