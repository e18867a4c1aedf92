"""The probe, what is remembered of it, and the budgets that are warned of."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from umad.cache_path import cache_folder
from umad.daemon.bandwidth import BandwidthMemory, Budget, machine_memory, settle_budget
from umad.daemon.read_probe import read_bytes_per_s


class Probe:
    """Says what it is told to, and counts."""

    def __init__(self, *answers: float | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> float | None:
        self.asked += 1
        return self.answers.pop(0)


@pytest.fixture
def remembering(tmp_path: Path) -> Callable[[Probe], BandwidthMemory]:
    return lambda probe: BandwidthMemory(tmp_path / "deep" / "b.json", "a machine", probe)


def test_a_machine_is_probed_once_and_remembered(
    remembering: Callable[[Probe], BandwidthMemory],
) -> None:
    probe = Probe(33.5)

    first = settle_budget("auto", remembering(probe), origin="defaults")
    second = settle_budget("auto", remembering(probe), origin="defaults")

    assert first == second == Budget(gbps=33.5, measured=True)
    assert probe.asked == 1


def test_another_machine_with_the_same_home_is_probed_itself(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    BandwidthMemory(path, "one", Probe(10.0)).known()

    other = BandwidthMemory(path, "two", Probe(20.0)).known()

    assert other == 20.0
    assert json.loads(path.read_text()) == {"one": 10.0, "two": 20.0}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a machine": "x"}', '{"a machine": -1}', "\0"])
def test_a_damaged_memory_costs_another_probe(
    tmp_path: Path, remembering: Callable[[Probe], BandwidthMemory], damage: str
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.json").write_text(damage)

    assert remembering(Probe(12.0)).known() == 12.0
    assert remembering(Probe()).known() == 12.0


def test_a_folder_that_cannot_be_written_keeps_nobody_from_starting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    memory = BandwidthMemory(tmp_path / "file" / "b.json", "m", Probe(9.0))

    assert memory.known() == 9.0


def test_where_nothing_can_be_measured_there_is_no_budget_unless_asked_for(
    remembering: Callable[[Probe], BandwidthMemory],
) -> None:
    probe = Probe(None, None)

    assert settle_budget("auto", remembering(probe), origin="defaults") is None
    assert settle_budget(5.0, remembering(probe), origin="--x") == Budget(gbps=5.0, measured=False)


def test_a_budget_above_the_bandwidth_is_taken_with_a_warning_that_says_where_it_stands(
    remembering: Callable[[Probe], BandwidthMemory], caplog: pytest.LogCaptureFixture
) -> None:
    budget = settle_budget(320.0, remembering(Probe(30.0, 33.5)), origin="umad.yaml:3")

    assert budget == Budget(gbps=320.0, measured=False)
    (warning,) = caplog.messages
    assert warning == (
        "umad.yaml:3: bmt_budget_gbps is 320 GB/s, and this machine was measured to read "
        "33.5 GB/s, so it holds nothing back here; a lower rate would"
    )


def test_nobody_is_warned_for_a_probe_that_was_disturbed(
    remembering: Callable[[Probe], BandwidthMemory], caplog: pytest.LogCaptureFixture
) -> None:
    probe = Probe(8.0, 33.5)

    budget = settle_budget(20.0, remembering(probe), origin="--bmt-budget-gbps")

    assert budget == Budget(gbps=20.0, measured=False)
    assert caplog.messages == []
    assert remembering(probe).known() == 33.5


def test_the_probe_reads_at_a_rate_that_memory_can_have() -> None:
    # In this process's own time, of which others on the machine take nothing.
    rate = read_bytes_per_s(
        threads=1, buffer_bytes=8 * 2**20, now_ns=time.process_time_ns, passes_s=0.01
    )

    assert 1e8 < rate < 1e13


def test_the_probe_answers_from_a_process_of_its_own(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}

    gbps = machine_memory(1, environ).known()

    assert gbps is not None
    assert 0.1 < gbps < 10_000
    (remembered,) = json.loads((tmp_path / "umad" / "bandwidth.json").read_text()).values()
    assert remembered == gbps


@pytest.mark.parametrize(
    ("environ", "platform", "folder"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "linux", "/c/umad"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "linux", "/h/.cache/umad"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Caches/umad"),
    ],
)
def test_what_is_measured_lies_in_the_platforms_cache_folder(
    environ: dict[str, str], platform: str, folder: str
) -> None:
    assert cache_folder(environ, platform) == Path(folder)
