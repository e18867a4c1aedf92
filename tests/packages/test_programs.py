"""Packages that need an environment of their own against a real gateway: `make clients-test`."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.gateway.scripted import hermes_call, scripted_gateway

# The environment's interpreter; the Makefile sets it.
PYTHON = os.environ.get("CLIENTS_PYTHON", "")
# Each imports for seconds, some of them several times: a crowded machine is no failure.
PATIENCE_S = 290.0
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("clients")) as one:
        yield one


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("scripted")
    with scripted_gateway(folder, hermes_call("weather", {"city": "Oslo"})) as (address, _):
        yield address


@pytest.mark.parametrize("package", ["litellm", "langchain", "instructor", "llm"])
def test_a_package_is_served_in_its_main_ways(
    gateway: LiveGateway, scripted: str, package: str
) -> None:
    assert PYTHON, "CLIENTS_PYTHON names no interpreter; make clients-test does"
    program = Path(__file__).with_name("programs.py")

    done = subprocess.run(
        [PYTHON, str(program), package, gateway.address, scripted],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == f"{package}: good"
