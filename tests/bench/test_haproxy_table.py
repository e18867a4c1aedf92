"""The benchmark of HAProxy's table, with a small one."""

from pathlib import Path

import pytest

from bench.haproxy_table import haproxy_table
from bench.router import certificates, proxy_before
from tests.router.proxies import HAPROXY

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")


def test_a_full_table_remembers_as_many_as_it_has_room_for(short_tmp_path: Path) -> None:
    certificates(short_tmp_path)

    found = haproxy_table(proxy_before(short_tmp_path, 2000), short_tmp_path)

    assert 1500 < found["remembered"] <= 2000
    assert 0 < found["empty_mb"] < found["full_mb"]
    assert found["beyond_mb"] < found["full_mb"] + 1
