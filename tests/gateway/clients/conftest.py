from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.gateway.gateways import LiveGateway


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.address}/v1", api_key="none", max_retries=0, timeout=60) as one:
        yield one
