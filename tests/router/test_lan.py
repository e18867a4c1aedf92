"""A router is found in the network by what it announces, which is a hint and opens nothing."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

import pytest

from umad.cli.app import main
from umad.errors import Unsupported
from umad.router.lan import Announced, announced, look_around
from umad.version import __version__

HERE = ("127.0.0.1",)


def around() -> list[Announced]:
    return asyncio.run(look_around(1.5, interfaces=HERE))


def test_routers_are_found_while_they_are_there() -> None:
    async def run() -> tuple[list[Announced], list[Announced]]:
        async with AsyncExitStack() as stack:
            for name, port in (("office", 8442), ("lab of Zoë", 8443)):
                await stack.enter_async_context(
                    announced(name, port, authority="ab" * 32, interfaces=HERE)
                )
            there = await look_around(1.5, interfaces=HERE)
        return there, await look_around(1.0, interfaces=HERE)

    there, gone = asyncio.run(run())

    assert [(one.name, one.host, one.port) for one in there] == [
        ("lab of Zoë", "127.0.0.1", 8443),
        ("office", "127.0.0.1", 8442),
    ]
    assert {(one.authority, one.version) for one in there} == {("ab" * 32, __version__)}
    assert gone == []


def test_two_routers_of_one_name_are_both_found() -> None:
    async def run() -> list[Announced]:
        async with (
            announced("office", 1, authority="a", interfaces=HERE),
            announced("office", 2, authority="b", interfaces=HERE),
        ):
            return await look_around(1.5, interfaces=HERE)

    assert sorted(one.port for one in asyncio.run(run())) == [1, 2]


def test_the_command_shows_what_it_finds(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("node", "ls", "--lan", "--for", "0.5", "--interface", "127.0.0.1")

    code = main([*words, "--json"])

    assert (code, json.loads(capsys.readouterr().out)) == (1, [])


def test_without_the_package_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    monkeypatch.setitem(sys.modules, "zeroconf.asyncio", None)

    with pytest.raises(Unsupported, match=r"umad\[lan\]"):
        around()
