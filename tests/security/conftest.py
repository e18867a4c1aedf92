"""Fixtures of attacks: a gateway with two keys and little room, on a real port."""

from collections.abc import Iterator

import pytest

from tests.gateway.gateways import LiveGateway, live_gateway

KEYS = """
keys:
  - {name: alice, key: sk-alice-0001}
  - {name: mallory, key: sk-mallory-1}
"""
HALF_REQUEST_S = 60.0
ALICE = {"authorization": "Bearer sk-alice-0001"}
MALLORY = {"authorization": "Bearer sk-mallory-1"}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """Room for 48 connections and 16 requests at once; half a request may take a minute."""
    folder = tmp_path_factory.mktemp("narrow")
    (folder / "keys.yaml").write_text(KEYS)
    (folder / "keys.yaml").chmod(0o600)
    with live_gateway(
        folder,
        *("--api-key-file", str(folder / "keys.yaml"), "--gateway-head-s", str(HALF_REQUEST_S)),
        *("--gateway-connections", "48", "--gateway-concurrency", "16"),
    ) as one:
        yield one
