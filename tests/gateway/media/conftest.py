from collections.abc import Iterator

import pytest

from tests.engine.projector_files import write_gemma3, write_ultravox
from tests.gateway.gateways import LiveGateway
from tests.gateway.media.seeing import gateway_with


@pytest.fixture(scope="package")
def seeing() -> Iterator[LiveGateway]:
    with gateway_with(write_gemma3) as gateway:
        yield gateway


@pytest.fixture(scope="package")
def hearing() -> Iterator[LiveGateway]:
    with gateway_with(write_ultravox) as gateway:
        yield gateway
