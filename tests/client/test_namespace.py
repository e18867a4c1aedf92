"""`from umad import …` has everything a program needs, is typed, and costs nothing until used."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import umad
from umad import errors
from umad.errors import UmadError

SOURCE = Path(umad.__file__)
PROGRAM = """
from umad import AsyncClient, ChatResult, Client, Content, ModelRow, ToolCall, UmadError


def ask(question: str) -> str:
    with Client() as client:
        models: list[ModelRow] = client.models()
        result: ChatResult = client.chat(
            [{"role": "user", "content": question}], model=models[0].name, temperature=0
        )
        for piece in client.stream(question, max_tokens=5, stop=["."]):
            if isinstance(piece, Content):
                print(piece.text, end="")
            elif isinstance(piece, ToolCall):
                print(piece.name)
        rate: float | None = client.metrics().tokens_per_s
        return f"{result} {rate} {result.usage.completion_tokens}"


async def ask_later(client: AsyncClient) -> str:
    try:
        return str(await client.chat("hi")) + await client.complete("x", seed=1)
    except UmadError as error:
        return error.code
"""
WRONG = """
from umad import Client

Client().chat("hi", temprature=0)
Client().chat("hi", temperature="hot")
length: int = Client().complete("hi")
"""


def imported_for_types() -> Iterator[str]:
    """The names that a type checker is told of."""
    for node in ast.parse(SOURCE.read_text()).body:
        if isinstance(node, ast.If):
            for statement in node.body:
                assert isinstance(statement, ast.ImportFrom)
                yield from (alias.name for alias in statement.names)


def test_every_name_is_there_in_all_three_tables() -> None:
    assert sorted(umad.__all__) == umad.__all__
    assert {*imported_for_types(), "__version__"} == set(umad.__all__)
    assert all(getattr(umad, name) is not None for name in umad.__all__)
    assert set(umad.__all__) <= set(dir(umad))


def test_every_error_umad_raises_can_be_named() -> None:
    raised = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, UmadError)
    }

    assert raised <= set(umad.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'Klient'"):
        umad.Klient  # noqa: B018


@pytest.mark.parametrize("module", ["umad", "umad.daemon.server", "umad.cli.exits"])
def test_who_does_not_use_the_client_does_not_load_it(module: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", f"import {module}, sys; print('umad.client' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert said.stdout.strip() == "False"


def checked(program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """`mypy --strict` of a program that only has the package."""
    path = folder / "program.py"
    path.write_text(program)
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", str(path)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=280,
        check=False,
    )


@pytest.mark.timeout(300)
def test_a_users_program_is_checked_strictly_against_the_package(tmp_path: Path) -> None:
    found = checked(PROGRAM, tmp_path)

    assert found.returncode == 0, found.stdout
    assert (SOURCE.parent / "py.typed").exists()


@pytest.mark.timeout(300)
def test_a_users_mistakes_are_found_before_the_program_runs(tmp_path: Path) -> None:
    found = checked(WRONG, tmp_path)

    assert found.returncode == 1
    assert "temprature" in found.stdout
    assert '"temperature"' in found.stdout
    assert 'has type "str", variable has type "int"' in found.stdout
