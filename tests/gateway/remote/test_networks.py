"""Addresses that may be asked for a file, and those that may not."""

import ipaddress
import socket

import pytest

from umad.gateway.remote.networks import is_beside, is_listed, is_own, is_public, read_networks


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",  # behind a provider's translation
        "169.254.169.254",  # a cloud's metadata
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.7",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",  # IPv4 in IPv6, as it was written once
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",  # a cloud's metadata
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_an_address_that_is_no_public_servers_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"],
)
def test_an_address_of_a_public_server_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_listed_network_holds_its_addresses_and_no_others() -> None:
    networks = read_networks(["192.168.1.0/24", "fd12::/16"])

    def listed(address: str) -> bool:
        return is_listed(ipaddress.ip_address(address), networks)

    assert listed("192.168.1.7")
    assert listed("::ffff:192.168.1.7")
    assert listed("fd12::5")
    assert not listed("192.168.2.7")
    assert not listed("fd13::5")
    assert not listed("127.0.0.1")


def test_an_address_of_this_machine_is_its_own() -> None:
    assert is_own(ipaddress.ip_address("127.0.0.1"))
    assert is_own(ipaddress.ip_address(socket.inet_ntoa(b"\x7f\0\0\1")))
    assert not is_own(ipaddress.ip_address("1.1.1.1"))


@pytest.mark.parametrize(
    ("address", "own", "beside"),
    [
        ("2a00:1450:4001::7", "2a00:1450:4001::1234", True),
        ("2a00:1450:4001:1::7", "2a00:1450:4001::1234", False),
        ("93.184.216.34", "93.184.216.9", True),
        ("93.184.217.34", "93.184.216.9", False),
        ("2606:4700::1111", "93.184.216.9", False),
    ],
)
def test_a_public_address_beside_this_machines_is_of_its_network(
    address: str, own: str, beside: bool
) -> None:
    assert is_beside(ipaddress.ip_address(address), ipaddress.ip_address(own)) == beside


def test_an_ipv4_address_within_an_ipv6_one_is_this_machines_own() -> None:
    assert is_own(ipaddress.ip_address("::ffff:127.0.0.1"))
