from pathlib import PurePath

import pytest

from umad.errors import BadConfig
from umad.socket_path import (
    check_socket_path,
    default_socket_path,
    socket_path_limit_bytes,
    socket_places,
)

LINUX, MAC = "linux", "darwin"


@pytest.mark.parametrize(
    ("environ", "platform", "wanted"),
    [
        (
            {"UMAD_SOCKET": "/s", "XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/home/ada"},
            LINUX,
            "/s",
        ),
        ({"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/h"}, LINUX, "/run/user/7/umad/umad.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/h"}, MAC, "/run/user/7/umad/umad.sock"),
        ({"HOME": "/Users/ada"}, MAC, "/Users/ada/Library/Application Support/umad/umad.sock"),
        ({"HOME": "/home/ada"}, LINUX, "/home/ada/.local/state/umad/umad.sock"),
        # Empty is unset, and a relative XDG folder is to be ignored.
        (
            {"UMAD_SOCKET": "", "XDG_RUNTIME_DIR": "", "HOME": "/h"},
            LINUX,
            "/h/.local/state/umad/umad.sock",
        ),
        ({"XDG_RUNTIME_DIR": "run", "HOME": "/h"}, LINUX, "/h/.local/state/umad/umad.sock"),
    ],
)
def test_the_socket_lies_where_the_interface_says(
    environ: dict[str, str], platform: str, wanted: str
) -> None:
    assert default_socket_path(environ, platform) == str(PurePath(wanted))


@pytest.mark.parametrize(
    ("environ", "platform", "wanted"),
    [
        pytest.param({"UMAD_SOCKET": "/s", "HOME": "/h"}, LINUX, ["/s"], id="one that is named"),
        pytest.param(
            {"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/h"},
            LINUX,
            ["/run/user/7/umad/umad.sock", "/h/.local/state/umad/umad.sock"],
            id="a login",
        ),
        pytest.param(
            {"HOME": "/h"},
            LINUX,
            ["/h/.local/state/umad/umad.sock", "/run/user/7/umad/umad.sock"],
            id="cron",
        ),
        pytest.param({}, LINUX, ["/run/user/7/umad/umad.sock"], id="env -i"),
        pytest.param(
            {"XDG_RUNTIME_DIR": "/run/user/8", "HOME": "/h"},
            LINUX,
            [
                "/run/user/8/umad/umad.sock",
                "/h/.local/state/umad/umad.sock",
                "/run/user/7/umad/umad.sock",
            ],
            id="sudo that keeps the variables of who used it",
        ),
        pytest.param(
            {"HOME": "/" + "h" * 100}, LINUX, ["/run/user/7/umad/umad.sock"], id="a deep home"
        ),
        pytest.param(
            {"HOME": "/h"},
            MAC,
            ["/h/Library/Application Support/umad/umad.sock"],
            id="macOS has one place",
        ),
    ],
)
def test_clients_look_wherever_a_daemon_of_this_user_may_listen(
    environ: dict[str, str], platform: str, wanted: list[str]
) -> None:
    assert list(socket_places(environ, platform, 7)) == wanted


def test_clients_look_at_the_users_own_home_last_where_sudo_has_left_another() -> None:
    places = socket_places({"HOME": "/Users/ada"}, MAC, 7, home="/Users/bob")

    assert [place.split("/")[2] for place in places] == ["ada", "bob"]
    assert socket_places({}, MAC, 7, home="/Users/bob") == places[1:]


def test_with_nowhere_to_put_it_the_error_says_what_to_set() -> None:
    with pytest.raises(BadConfig, match="UMAD_SOCKET"):
        default_socket_path({}, LINUX)


@pytest.mark.parametrize(("platform", "limit_bytes"), [(LINUX, 107), (MAC, 103)])
def test_the_longest_path_of_a_platform_is_taken_and_no_longer_one(
    platform: str, limit_bytes: int
) -> None:
    longest = "/" + "s" * (limit_bytes - 1)

    assert socket_path_limit_bytes(platform) == limit_bytes
    assert check_socket_path(longest, platform) == longest
    with pytest.raises(BadConfig, match=rf"{limit_bytes + 1} bytes.*takes {limit_bytes}"):
        check_socket_path(longest + "s", platform)


def test_the_limit_counts_bytes_and_not_characters() -> None:
    with pytest.raises(BadConfig, match="bytes"):
        check_socket_path("/" + "ü" * 60, LINUX)


def test_a_home_too_deep_for_a_socket_is_refused_with_a_way_out() -> None:
    with pytest.raises(BadConfig, match="UMAD_SOCKET"):
        default_socket_path({"HOME": "/" + "h" * 100}, LINUX)
