"""Programs of others are not killed by instructions that do not work here."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench import instructions, peers, python_server
from bench.python_server import PythonServer, PythonServerSettings
from umad.engine.llamacpp.repack_check import Repacking

Here = Callable[[Repacking | None, bool], None]
FINE = Repacking(faults={"AMX": "", "CPU_REPACK": ""})
BROKEN = Repacking(faults={"AMX": "signal SIGILL", "CPU_REPACK": ""})
WITHOUT = Repacking(faults={"CPU_REPACK": ""})
NO_AMX = ["-DCMAKE_C_FLAGS=-U__AMX_INT8__", "-DCMAKE_CXX_FLAGS=-U__AMX_INT8__"]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    """Pretend a machine: what was found on it, and whether its processor names AMX."""
    for name in ("CMAKE_ARGS", "CFLAGS", "CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)

    def pretend(found: Repacking | None, names_amx: bool) -> None:
        monkeypatch.setattr(instructions, "_repacking", lambda: found)
        monkeypatch.setattr(instructions, "has_instruction", lambda _: names_amx)

    return pretend


@pytest.mark.parametrize(
    ("found", "names_amx", "more"),
    [
        (FINE, True, []),
        (WITHOUT, False, []),
        (BROKEN, True, NO_AMX),
        (WITHOUT, True, NO_AMX),
        (None, True, NO_AMX),
    ],
    ids=["works", "no such processor", "kills", "engine built without it", "unknown"],
)
def test_programs_are_built_without_amx_where_it_does_not_work(
    here: Here, found: Repacking | None, names_amx: bool, more: list[str]
) -> None:
    here(FINE, True)
    usual, print_ = peers._flags(), peers.fingerprint()

    here(found, names_amx)

    assert peers._flags() == [*usual, *more]
    assert (peers.fingerprint() == print_) == (not more)


def test_what_compilers_were_told_before_stays(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here(BROKEN, True)
    monkeypatch.setenv("CFLAGS", "-g")
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_VULKAN=on '-DCMAKE_CXX_FLAGS:STRING=-O2 -pipe'")

    assert peers._flags()[-4:] == [
        "-DGGML_VULKAN=on",
        "-DCMAKE_CXX_FLAGS:STRING=-O2 -pipe",
        "-DCMAKE_C_FLAGS=-g -U__AMX_INT8__",
        "-DCMAKE_CXX_FLAGS=-O2 -pipe -U__AMX_INT8__",
    ]


@pytest.mark.parametrize(("found", "plain"), [(FINE, False), (BROKEN, True), (None, True)])
def test_the_python_server_repacks_only_where_that_works(
    here: Here, monkeypatch: pytest.MonkeyPatch, found: Repacking | None, plain: bool
) -> None:
    here(found, True)
    monkeypatch.setattr(python_server, "interpreter", lambda: Path("python"))
    settings = PythonServerSettings(model=Path("m.gguf"), context_tokens=64, threads=1)
    server = PythonServer(settings)

    command, _ = server.command()
    server.stop()

    assert ("use_extra_bufts = False" in " ".join(command)) == plain
    assert "llama_cpp.server.app:create_app" in command


def test_what_is_left_out_is_said_in_one_line(here: Here) -> None:
    here(BROKEN, True)
    said = instructions.faults()
    here(FINE, True)
    nothing = instructions.faults()

    assert said.startswith("AMX fails by signal SIGILL: ")
    assert "\n" not in said
    assert nothing == ""
