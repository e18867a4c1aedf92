"""Headroom and stalls from the system's files, which a folder stands in for."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from umad.daemon.pressure_sources import LinuxPressure, MacPressure, pressure_source
from umad.memory_pressure import MemoryRoom, Strain, SystemLevel, strain_of

MB = 2**20


def lay(root: Path, files: Mapping[str, str]) -> LinuxPressure:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return LinuxPressure(root)


def meminfo(*, total: int, available: int, mapped: int = 0, shared: int = 0) -> str:
    """Figures in MB."""
    values = {"MemTotal": total, "MemAvailable": available, "Mapped": mapped, "Shmem": shared}
    return "".join(f"{name}: {value * 1024:12} kB\n" for name, value in values.items())


def psi(some: float, full: float) -> str:
    return (
        f"some avg10={some:.2f} avg60=0.00 avg300=0.00 total=1\n"
        f"full avg10={full:.2f} avg60=0.00 avg300=0.00 total=1\n"
    )


MACHINE = {
    "proc/meminfo": meminfo(total=16_000, available=9_000),
    "proc/pressure/memory": psi(0.0, 0.0),
    "proc/self/cgroup": "0::/user.slice/app.slice/umad.service\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
}
OWN = "sys/fs/cgroup/user.slice/app.slice/umad.service"


def rooms(root: Path, files: Mapping[str, str]) -> dict[str, MemoryRoom]:
    """By the last part of the name."""
    return {Path(one.name).name: one for one in lay(root, {**MACHINE, **files}).read().rooms}


def test_the_machine_has_what_is_available_and_its_stalls(tmp_path: Path) -> None:
    machine = rooms(tmp_path, {"proc/pressure/memory": psi(12.5, 3.25)})["machine"]

    assert (machine.limit_bytes, machine.headroom_bytes) == (16_000 * MB, 9_000 * MB)
    assert (machine.some_pct, machine.full_pct) == (12.5, 3.25)


def test_mapped_weights_are_no_room(tmp_path: Path) -> None:
    text = meminfo(total=16_000, available=9_000, mapped=8_500, shared=200)

    machine = rooms(tmp_path, {"proc/meminfo": text})["machine"]

    # Shared memory is mapped too, and was never available.
    assert machine.headroom_bytes == 700 * MB


def test_a_group_with_a_limit_is_a_room_of_its_own(tmp_path: Path) -> None:
    found = rooms(
        tmp_path,
        {
            f"{OWN}/memory.max": f"{2000 * MB}\n",
            f"{OWN}/memory.high": "max\n",
            f"{OWN}/memory.current": f"{1900 * MB}\n",
            f"{OWN}/memory.stat": (
                f"anon 1\nfile_mapped {100 * MB}\n"
                f"inactive_file {300 * MB}\nactive_file {200 * MB}\n"
            ),
            f"{OWN}/memory.pressure": psi(30.0, 11.0),
        },
    )["umad.service"]

    assert (found.limit_bytes, found.headroom_bytes) == (2000 * MB, 500 * MB)
    assert (found.some_pct, found.full_pct) == (30.0, 11.0)


def test_the_lower_limit_of_a_group_counts_because_the_kernel_slows_it_there(
    tmp_path: Path,
) -> None:
    found = rooms(
        tmp_path,
        {
            f"{OWN}/memory.max": f"{2000 * MB}\n",
            f"{OWN}/memory.high": f"{1500 * MB}\n",
            f"{OWN}/memory.current": f"{1450 * MB}\n",
        },
    )["umad.service"]

    assert (found.limit_bytes, found.headroom_bytes) == (1500 * MB, 50 * MB)


def test_the_limit_of_a_group_above_counts_too(tmp_path: Path) -> None:
    found = rooms(
        tmp_path,
        {
            f"{OWN}/memory.max": "max\n",
            f"{OWN}/memory.current": f"{10 * MB}\n",
            "sys/fs/cgroup/user.slice/memory.max": f"{1000 * MB}\n",
            "sys/fs/cgroup/user.slice/memory.current": f"{990 * MB}\n",
        },
    )

    assert found.keys() == {"machine", "user.slice"}
    assert found["user.slice"].headroom_bytes == 10 * MB


def test_a_container_whose_path_is_not_its_own_reads_what_is_mounted(tmp_path: Path) -> None:
    found = rooms(
        tmp_path,
        {
            "proc/self/cgroup": "0::/docker/0123456789abcdef\n",
            "sys/fs/cgroup/memory.max": f"{1000 * MB}\n",
            "sys/fs/cgroup/memory.current": f"{400 * MB}\n",
        },
    )

    assert found["cgroup"].headroom_bytes == 600 * MB


def test_groups_of_version_1_have_limits_and_no_stalls(tmp_path: Path) -> None:
    own = "sys/fs/cgroup/memory/box"
    found = rooms(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/box\n1:cpu,cpuacct:/\n0::/\n",
            f"{own}/memory.limit_in_bytes": f"{1000 * MB}\n",
            f"{own}/memory.usage_in_bytes": f"{900 * MB}\n",
            f"{own}/memory.stat": f"total_inactive_file {50 * MB}\ntotal_mapped_file {20 * MB}\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{900 * MB}\n",
        },
    )

    assert found.keys() == {"machine", "box"}
    assert found["box"].headroom_bytes == 130 * MB
    assert found["box"].some_pct is None


@pytest.mark.parametrize(
    "files",
    [
        {"proc/meminfo": "", "proc/pressure/memory": "", "proc/self/cgroup": ""},
        {"proc/meminfo": "MemTotal: many kB\n", "proc/pressure/memory": "some avg10=x\n"},
        {"proc/self/cgroup": "0::\n"},
        {"proc/self/cgroup": "nonsense\n::::\n0::/../../..\n"},
        {f"{OWN}/memory.max": "-1\n", f"{OWN}/memory.current": "\n"},
    ],
)
def test_files_that_say_something_else_are_left_out(
    tmp_path: Path, files: Mapping[str, str]
) -> None:
    assert rooms(tmp_path, files).keys() <= {"machine"}


def test_a_system_without_such_files_says_nothing(tmp_path: Path) -> None:
    assert strain_of(LinuxPressure(tmp_path).read()) is Strain.FAIR


@pytest.mark.parametrize(
    ("number", "level"),
    [(1, SystemLevel.NORMAL), (2, SystemLevel.WARN), (4, SystemLevel.CRITICAL), (3, None)],
)
def test_macos_tells_a_level(number: int, level: SystemLevel | None) -> None:
    found = MacPressure(level=lambda: number, memory=lambda: (16_000 * MB, 100 * MB)).read()

    assert found.level is level
    assert found.shortest is not None
    assert found.shortest.headroom_bytes == 100 * MB


def test_little_room_says_nothing_where_macos_says_normal() -> None:
    found = MacPressure(level=lambda: 1, memory=lambda: (16_000 * MB, 100 * MB)).read()

    assert strain_of(found) is Strain.EASY


def test_this_machine_can_be_read() -> None:
    found = pressure_source()()

    assert found.shortest is not None
    assert 0 <= found.shortest.headroom_bytes <= found.shortest.limit_bytes
