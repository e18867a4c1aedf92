"""Addresses of routers: what is read, and what is refused without a word of a secret."""

import pytest

from umad.client.remote.address import remote_address
from umad.errors import BadConfig


def test_an_address_is_where_to_connect_and_what_the_server_is_told() -> None:
    found = remote_address("http://[::1]:8080", key="sk-1")

    assert (found.host, found.port, found.authority, found.tls) == ("::1", 8080, "[::1]:8080", None)
    assert "sk-1" not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "https://ada:swordfish@router",
        "https://ada:swordfish@router/path",
        "https://router/path",
        "https://router?key=swordfish@",
        "https://router#here",
        "ftp://router",
        "router:443",
    ],
)
def test_what_is_no_address_is_refused_and_no_password_is_told(text: str) -> None:
    with pytest.raises(BadConfig) as refused:
        remote_address(text)

    assert refused.value.field == "address"
    assert "swordfish" not in refused.value.message


def test_a_key_does_not_travel_where_others_read_it() -> None:
    with pytest.raises(BadConfig):
        remote_address("http://router", key="sk-1")
