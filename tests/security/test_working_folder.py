"""No process of umad runs what lies in the folder it was started in."""

import ast
import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import umad
from tests.live import wait_until
from tests.security.hostile_folder import (
    HostileFolder,
    every_module,
    modules_python_needs_for_dash_m,
)
from umad.client import AsyncClient
from umad.conversation import ChatMessage
from umad.isolated import absolute_folders, import_folders, python_module
from umad.request import GenerateRequest, SamplingParams

UMAD = Path(sys.executable).with_name("umad")
ROOT = Path(umad.__file__).parents[1]
START_S = 120.0


@pytest.fixture
def hostile(short_tmp_path: Path) -> HostileFolder:
    return HostileFolder(short_tmp_path / "downloads", every_module())


@pytest.fixture
def plain(short_tmp_path: Path) -> dict[str, str]:
    """Nothing of the developer's own; an empty cache, so that the machine is probed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("UMAD_", "PYTHON", "XDG_"))}
    return {
        **kept,
        "HOME": str(short_tmp_path),
        "XDG_CACHE_HOME": str(short_tmp_path / "cache"),
        "UMAD_SOCKET": str(short_tmp_path / "u.sock"),
    }


@contextmanager
def serving(
    command: list[str], hostile: HostileFolder, environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """`command` run in the hostile folder until both the daemon and its gateway are ready."""
    words = hostile.path.parent / "words"
    with words.open("w") as errors:
        process = subprocess.Popen(
            command,
            cwd=hostile.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=errors,
            text=True,
        )

    def is_ready() -> bool:
        text = words.read_text()
        assert process.poll() is None, (text, hostile.ran)
        assert not hostile.ran, hostile.ran
        return "umad ready" in text and "gateway ready" in text

    try:
        wait_until(is_ready, within_s=START_S, what="the start")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def children_of(process: subprocess.Popen[str]) -> list[tuple[list[str], str]]:
    """Command line and working folder of each, those left out that end while they are looked at."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one, to psutil
            found.append((child.cmdline(), child.cwd()))
    return found


def gateway_address(hostile: HostileFolder) -> str:
    found = re.search(r"gateway ready address=(\S+)", (hostile.path.parent / "words").read_text())
    assert found is not None
    return found[1]


async def chat(socket: str) -> str:
    """A conversation's answer, which the model's template had to be run for."""
    request = GenerateRequest(
        messages=(ChatMessage(role="user", content="x"),), sampling=SamplingParams(max_tokens=2)
    )
    async with AsyncClient(socket) as client:
        return [type(event).__name__ async for event in client.generate(request)][-1]


def test_a_served_model_its_template_the_probe_and_the_gateway_run_nothing_planted(
    hostile: HostileFolder, plain: dict[str, str], nano_path: Path
) -> None:
    shutil.copy(nano_path, hostile.path / "model.gguf")
    command = [str(UMAD), "serve", "./model.gguf", "--http", "127.0.0.1:0"]
    command += ["--session-dir", "./sessions"]

    with serving(command, hostile, plain) as process:
        interpreter = psutil.Process(process.pid).cmdline()[0]  # as its script names it
        children = children_of(process)
        isolated = {tuple(command[:2]) for command, _ in children}
        stand_in = {folder for command, folder in children if "umad.engine" in command}
        answered = asyncio.run(chat(plain["UMAD_SOCKET"]))
        asked = [*command[:1], "ps"]
        shown = subprocess.run(
            asked, cwd=hostile.path, env=plain, check=True, capture_output=True, timeout=60
        )

    assert hostile.ran == []
    assert answered == "Done"
    assert b"model" in shown.stdout
    # Gateway, engine, template.
    assert len(children) >= 3
    assert isolated == {(interpreter, "-I")}
    # llama.cpp built with backends as libraries loads them from where it stands.
    assert stand_in == {"/"}
    # What the user named from here is still here.
    assert (hostile.path / "sessions").is_dir()
    # The probe has run, and has ended.
    assert list((Path(plain["XDG_CACHE_HOME"]) / "umad").glob("bandwidth*"))


@pytest.mark.timeout(300)
def test_the_demo_and_its_apps_run_nothing_planted(
    hostile: HostileFolder, plain: dict[str, str]
) -> None:
    ended = subprocess.run(
        [UMAD, "demo", "--seconds", "1"],
        cwd=hostile.path,
        env=plain,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert hostile.ran == []
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("arguments", [("bench", "mixed", "--help"), ("config", "show"), ("ps",)])
def test_a_command_runs_nothing_planted(
    hostile: HostileFolder, plain: dict[str, str], arguments: tuple[str, ...]
) -> None:
    ended = subprocess.run(
        [UMAD, *arguments],
        cwd=hostile.path,
        env=plain,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert hostile.ran == []
    assert ended.returncode != 66, ended.stderr


def test_an_agent_is_launched_without_running_anything_planted(
    hostile: HostileFolder, plain: dict[str, str]
) -> None:
    programs = hostile.path.parent / "bin"
    programs.mkdir()
    (programs / "claude").write_text("#!/bin/sh\necho started\n")
    (programs / "claude").chmod(0o755)
    # A PATH with an empty item, or a dot, has the working folder in it.
    (hostile.path / "claude").write_text("#!/bin/sh\necho the one planted here\n")
    (hostile.path / "claude").chmod(0o755)

    with serving([str(UMAD), "serve", "--http", "127.0.0.1:0"], hostile, plain):
        ended = subprocess.run(
            [UMAD, "launch", f"--url={gateway_address(hostile)}", "claude"],
            cwd=hostile.path,
            env={**plain, "PATH": f":.:{programs}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert hostile.ran == []
    assert ended.stdout == "started\n", ended.stderr


def test_python_dash_m_leaves_the_folder_before_it_imports_anything_of_its_own(
    short_tmp_path: Path, plain: dict[str, str]
) -> None:
    planted = every_module() - modules_python_needs_for_dash_m()
    hostile = HostileFolder(short_tmp_path / "downloads", planted)
    command = [sys.executable, "-m", "umad", "serve", "--http", "127.0.0.1:0"]

    with serving(command, hostile, plain):
        health = urllib.request.urlopen(f"{gateway_address(hostile)}/health", timeout=60)

    assert health.status == 200
    assert {"json", "logging", "msgpack", "click", "numpy", "asyncio"} <= planted
    assert hostile.ran == []


@pytest.mark.parametrize("python_path", ["", ":", ":/usr/lib", ".", "../downloads", "/:"])
def test_a_python_path_that_names_the_folder_by_accident_reaches_no_child(
    short_tmp_path: Path, plain: dict[str, str], python_path: str
) -> None:
    # Python's own start reads its hooks and library from there, before any program has a say.
    planted = every_module() - set(sys.stdlib_module_names)
    planted -= modules_python_needs_for_dash_m() | {"sitecustomize", "usercustomize", "umad"}
    hostile = HostileFolder(short_tmp_path / "downloads", planted)
    program = (
        "import subprocess, umad.__main__ as m, umad.isolated as i;"
        "import click;"
        "subprocess.run(i.python_module('umad', '--version'), check=True)"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=hostile.path,
        env={**plain, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert hostile.ran == []
    assert ended.stdout.startswith("umad "), ended.stderr


def test_a_child_imports_umad_from_where_its_parent_did(tmp_path: Path) -> None:
    """As with PYTHONPATH, or a folder of `pip install --target`."""
    elsewhere = tmp_path / "site"
    shutil.copytree(ROOT / "umad", elsewhere / "umad", ignore=shutil.ignore_patterns("*.gguf"))
    (elsewhere / "umad" / "where.py").write_text("print(__file__)")
    program = (
        "import subprocess; from umad.isolated import python_module;"
        "subprocess.run(python_module('umad.where'), check=True)"
    )

    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(elsewhere)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert said.stdout.strip() == str(elsewhere / "umad" / "where.py")


def test_a_checkout_that_is_the_working_folder_goes_on_being_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", ["", str(ROOT), ".", str(tmp_path), "/usr/lib/python3"])

    monkeypatch.chdir(ROOT)
    at_home = import_folders()
    monkeypatch.chdir(tmp_path)
    elsewhere = import_folders()

    assert at_home == [str(ROOT), str(tmp_path), "/usr/lib/python3"]
    assert elsewhere == [str(ROOT), "/usr/lib/python3"]


def test_a_library_path_with_an_empty_item_is_not_handed_on(
    hostile: HostileFolder, plain: dict[str, str]
) -> None:
    program = "import os, umad.__main__; print(os.environ['LD_LIBRARY_PATH'])"

    said = subprocess.run(
        [sys.executable, "-I", "-c", program],
        env={**plain, "LD_LIBRARY_PATH": ":/opt/cuda/lib::lib:"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert said.stdout.strip() == "/opt/cuda/lib"
    assert absolute_folders("") == ""


def test_only_one_file_makes_the_command_lines_of_children() -> None:
    """A process started any other way would be one that the tests above do not know."""
    naming = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "umad").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "executable"
    }

    # `umad bench` becomes `python -P -m bench`, which is no part of what is installed.
    assert naming == {"umad/isolated.py", "umad/cli/bench.py"}
    assert python_module("m")[1] == "-I"
