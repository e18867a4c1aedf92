"""Limits of control groups, from the kernel's files, which a folder stands in for."""

from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

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
