"""Where repacked kernels kill whoever uses them, `repack` is left off, and nobody dies of it."""

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.engine.harness import start
from umad import nano
from umad.config import EngineSettings
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama, repack_check
from umad.engine.llamacpp.repack_check import (
    Repacking,
    RepackMemory,
    RepackUnknown,
    ask,
    repack_memory,
    settled,
)
from umad.engine.llamacpp.repack_trial import RepackTrial
from umad.isolated import python_module
from umad.protocol.link import Stop

REPACK = EngineSettings(repack=True)
FINE = Repacking(faults={"AMX": "", "CPU_REPACK": ""})
BROKEN = Repacking(faults={"AMX": "signal SIGILL", "CPU_REPACK": ""})

# Children as `umad.engine.llamacpp.repack_child` is one: what they try, and how far they come.
PRETENDS = """
import os, signal, sys, time

def trying(*what):
    if what[0] not in sys.argv[1:]:
        print("trying", *what, sep="\\t", flush=True)
        return True

def executes_what_this_processor_does_not_know():
    signal.signal(signal.SIGILL, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGILL)
"""
USABLE = """
trying("AMX", "q8_0", 8); trying("CPU_REPACK", "q4_0", 2); print("done")
"""
UNUSABLE = """
if trying("AMX", "q8_0"): executes_what_this_processor_does_not_know()
trying("CPU_REPACK", "q4_0"); print("done")
"""


def child(program: str) -> Callable[[Sequence[str]], list[str]]:
    return lambda without: [sys.executable, "-c", PRETENDS + program, *without]


def remembered(folder: Path, *answers: Repacking, machine: str = "here") -> RepackMemory:
    """A memory that may ask as often as there are `answers`."""
    left = iter(answers)
    return RepackMemory(folder / "umad" / "repacking.json", machine, lambda: next(left))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_child_that_is_killed_by_an_instruction_says_which_kernels_use_it() -> None:
    found = ask(child(UNUSABLE))

    assert found.faults == {"AMX": "signal SIGILL", "CPU_REPACK": ""}
    assert not found.works
    assert not found.amx_works


def test_a_child_that_comes_to_its_end_says_that_all_of_them_work() -> None:
    found = ask(child(USABLE))

    assert found.works
    assert found.amx_works
    assert found.types == {8, 2}


def test_every_kernel_that_kills_is_found() -> None:
    both = """
if trying("AMX", "q8_0"): executes_what_this_processor_does_not_know()
if trying("CPU_KLEIDIAI", "q4_0"): os.abort()
trying("CPU_REPACK", "q4_0"); print("done")
"""

    assert ask(child(both)).faults == {
        "AMX": "signal SIGILL",
        "CPU_KLEIDIAI": "signal SIGABRT",
        "CPU_REPACK": "",
    }


def test_other_numbers_than_the_plain_kernels_are_a_fault_too() -> None:
    wrong = """
trying("AMX", "q8_0"); print("wrong", "AMX", "q8_0", sep="\\t"); trying("AMX", "q4_0")
print("done")
"""

    assert ask(child(wrong)).faults == {"AMX": "wrong numbers (q8_0)"}


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ('trying("AMX", "q8_0"); os.kill(os.getpid(), signal.SIGKILL)', "signal SIGKILL"),
        ("executes_what_this_processor_does_not_know()", "signal SIGILL"),
        ("sys.exit(3)", "exit status 3"),
        ("print('done'); sys.exit(1)", "exit status 1"),
    ],
    ids=["killed by somebody", "dead before it tried", "failed", "failed at its end"],
)
def test_a_child_that_proves_nothing_leaves_it_unknown(program: str, how: str) -> None:
    with pytest.raises(RepackUnknown, match=f"the trial ended with {how}"):
        ask(child(program))


def test_a_child_that_does_not_end_leaves_it_unknown() -> None:
    with pytest.raises(RepackUnknown, match=r"the trial was not done within 0\.5 s"):
        ask(child("time.sleep(100)"), within_s=0.5)


def test_what_does_not_work_is_left_off_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        settings = settled(REPACK, remembered(tmp_path, BROKEN))

    assert not settings.repack
    assert settings == EngineSettings(repack=False)
    (line,) = lines(caplog)
    assert line.startswith("repack is left off: it does not work here: AMX fails by signal SIGILL")


def test_what_works_is_used_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert settled(REPACK, remembered(tmp_path, FINE)) == REPACK

    assert lines(caplog) == []


def test_who_does_not_repack_asks_nobody(tmp_path: Path) -> None:
    plain = EngineSettings(repack=False)

    assert settled(plain, remembered(tmp_path)) == plain


def test_where_nothing_is_known_it_is_left_off_and_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown() -> Repacking:
        raise RepackUnknown("the trial was not done within 60 s")

    with caplog.at_level(logging.INFO):
        settings = settled(REPACK, RepackMemory(tmp_path / "repacking.json", "here", unknown))

    assert not settings.repack
    (line,) = lines(caplog)
    assert "the trial was not done within 60 s" in line
    assert list(tmp_path.iterdir()) == []


def test_one_machine_is_asked_once(tmp_path: Path) -> None:
    assert remembered(tmp_path, BROKEN).known() == BROKEN

    assert remembered(tmp_path).known() == BROKEN


def test_another_machine_boot_or_build_is_asked_anew(tmp_path: Path) -> None:
    remembered(tmp_path, BROKEN).known()

    assert remembered(tmp_path, FINE, machine="there").known() == FINE
    assert remembered(tmp_path).known() == BROKEN


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"here": 1}', '{"here": {"AMX": 1}}', '{"here": {"AMX": null}}', "\0"]
)
def test_a_damaged_file_costs_another_trial_and_a_line(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "umad").mkdir()
    (tmp_path / "umad" / "repacking.json").write_text(text)

    assert remembered(tmp_path, BROKEN).known() == BROKEN

    assert any("repack file is not read" in line for line in lines(caplog))
    assert remembered(tmp_path).known() == BROKEN


def test_a_folder_that_cannot_be_written_costs_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "umad").write_text("a file in the way")

    assert remembered(tmp_path, BROKEN).known() == BROKEN

    assert any("repack cannot be remembered" in line for line in lines(caplog))


def test_the_file_stays_small(tmp_path: Path) -> None:
    for number in range(repack_check.MAX_MACHINES + 9):
        remembered(tmp_path, FINE, machine=f"boot {number}").known()

    kept = json.loads((tmp_path / "umad" / "repacking.json").read_text())
    assert len(kept) == repack_check.MAX_MACHINES
    assert f"boot {repack_check.MAX_MACHINES + 8}" in kept


@pytest.fixture(scope="module")
def of_this_machine() -> Repacking:
    """What umad's own child finds here."""
    return ask(lambda without: python_module("umad.engine.llamacpp.repack_child", *without))


def test_the_trial_tries_what_llama_cpp_would_use_here(of_this_machine: Repacking) -> None:
    # Every build has this one unless it was told not to; x86 and ARM both have kernels in it.
    assert "CPU_REPACK" in of_this_machine.faults
    assert 2 in of_this_machine.types  # Q4_0


class DoesNothing:
    """ggml, whose first graph of each pair leaves its output as it lies."""

    def __init__(self) -> None:
        self._n_graphs = 0

    def __getattr__(self, name: str) -> Any:
        if name == "ggml_backend_graph_compute":
            self._n_graphs += 1
            if self._n_graphs % 2:
                return lambda *_: 0
        return getattr(llama.libggml, name)


def test_numbers_that_are_not_the_plain_kernels_are_told(of_this_machine: Repacking) -> None:
    broken = [name for name, how in of_this_machine.faults.items() if how]
    tried: list[tuple[str, str, int]] = []
    wrong: list[tuple[str, str, int]] = []

    libraries: tuple[Any, ...] = (llama.libggml, DoesNothing())
    for library in libraries:
        RepackTrial(
            library,
            trying=lambda *one: tried.append(one),
            wrong=lambda *one: wrong.append(one),
        ).run(without=broken)
        if library is llama.libggml:
            assert wrong == []

    assert ("CPU_REPACK", "q4_0", 2) in tried
    assert tried == [*wrong, *wrong]


@pytest.mark.parametrize("pretended", [None, BROKEN], ids=["as it is", "pretended unusable"])
def test_an_engine_told_to_repack_serves_on_every_machine(
    pretended: Repacking | None,
    of_this_machine: Repacking,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if pretended is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        memory = repack_memory(os.environ)
        monkeypatch.setattr(memory, "_ask", lambda: pretended)
        memory.known()
    options = EngineOptions(
        name="m",
        path=str(nano.path()),
        engine=EngineSettings(ctx_size=1024, threads=2, gpu_layers=0, repack=True),
    )

    for first in (True, False):
        with start(options, cache=tmp_path) as running:
            running.ready()
            # Long enough for the kernels of many tokens, and then for those of one.
            running.generate(1, prompt="import os\n" * 60, max_tokens=8, ignore_eos=True)
            running.send(Stop())
            assert running.wait() == 0, first
            said = running.stderr.count("repack is left off")

        assert said == (0 if (pretended or of_this_machine).works else 1)
    kept = json.loads((tmp_path / "umad" / "repacking.json").read_text())
    assert [one["faults"] for one in kept.values()] == [dict((pretended or of_this_machine).faults)]
