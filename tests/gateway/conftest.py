from collections.abc import Iterator

import pytest

from tests.gateway.gateways import LiveGateway, live_gateway


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """One for every test that leaves it as it was."""
    with live_gateway(
        tmp_path_factory.mktemp("gateway"),
        "--cors-origin=https://page.example",
        environment={"UMAD_ALIASES": "{gpt-4o: nano, 'claude-*': nano}"},
    ) as one:
        yield one
