"""One Chromium for a run, one gateway on nano for a file."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.browsing import chromium, opened
from tests.gateway.gateways import LiveGateway, live_gateway


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("page")) as one:
        yield one


@pytest.fixture
def page(browser: Browser, gateway: LiveGateway) -> Iterator[Page]:
    """The page, loaded; whatever it complains of fails the test."""
    with opened(browser, gateway.address) as one:
        yield one
