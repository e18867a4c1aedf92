"""Who may connect, and in which lane their work runs."""

import os
import socket
import sys
from pathlib import Path

import pytest

from umad.config import AppRule, LaneSettings
from umad.daemon.identity import UNKNOWN_APP, LaneRules, identify
from umad.daemon.peer import Peer, peer_of, process_name
from umad.errors import BadRequest, Refused

LANES = {
    "interactive": LaneSettings(priority=10),
    "background": LaneSettings(priority=1),
}


def rules(*pairs: tuple[str, str], default: str = "interactive") -> LaneRules:
    return LaneRules(
        lanes=LANES, rules=[AppRule(app=app, lane=lane) for app, lane in pairs], default=default
    )


def test_the_kernel_names_the_process_at_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = peer_of(ours.fileno())

    assert peer == Peer(uid=os.getuid(), pid=os.getpid())


def test_asking_for_the_peer_leaves_the_socket_open() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer_of(ours.fileno())
        ours.sendall(b"x")

        assert theirs.recv(1) == b"x"


def test_the_app_is_the_name_of_the_peers_process() -> None:
    identity = identify(Peer(uid=os.getuid(), pid=os.getpid()), own_uid=os.getuid())

    assert identity.app == process_name(os.getpid())
    assert identity.app not in ("", UNKNOWN_APP)


def test_a_process_that_has_gone_is_an_unknown_app() -> None:
    identity = identify(Peer(uid=1000, pid=2**30), own_uid=1000)

    assert identity.app == UNKNOWN_APP


@pytest.mark.parametrize("uid", [0, 1001])
def test_another_user_is_refused_root_too(uid: int) -> None:
    with pytest.raises(Refused, match=f"uid {uid}"):
        identify(Peer(uid=uid, pid=1), own_uid=1000)


def test_a_rule_with_a_slash_is_about_the_path_of_the_executable() -> None:
    lanes = rules(("/opt/*/index", "background"))

    def lane(path: str | None) -> str:
        return lanes.lane(app="index", path=path, asked=None, of_session=None)

    assert lane("/opt/tools/index") == "background"
    assert lane("/usr/bin/index") == "interactive"
    assert lane(None) == "interactive"


def test_the_first_rule_with_a_cap_gives_it_whatever_rule_gives_the_lane() -> None:
    lanes = LaneRules(
        lanes=LANES,
        rules=[
            AppRule(app="code*", lane="background"),
            AppRule(app="code-insiders", latency_cap=1.1),
            AppRule(app="code*", latency_cap=1.3),
        ],
        default="interactive",
    )

    assert lanes.lane(app="code-insiders", asked=None, of_session=None) == "background"
    assert lanes.latency_cap(app="code-insiders") == 1.1
    assert lanes.latency_cap(app="code") == 1.3
    assert lanes.latency_cap(app="zed") is None


def test_the_path_of_the_peers_executable_is_asked_of_the_system() -> None:
    identity = identify(Peer(uid=os.getuid(), pid=os.getpid()), own_uid=os.getuid())

    assert identity.path is not None
    assert Path(identity.path).samefile(sys.executable)


def test_the_request_decides_before_the_rules_and_the_rules_before_the_default() -> None:
    lanes = rules(("backup*", "background"))

    assert lanes.lane(app="backupd", asked="interactive", of_session=None) == "interactive"
    assert lanes.lane(app="backupd", asked=None, of_session="interactive") == "interactive"
    assert lanes.lane(app="backupd", asked=None, of_session=None) == "background"
    assert lanes.lane(app="editor", asked=None, of_session=None) == "interactive"


def test_the_first_rule_that_fits_wins() -> None:
    lanes = rules(("code*", "interactive"), ("*", "background"))

    assert lanes.lane(app="code-helper", asked=None, of_session=None) == "interactive"
    assert lanes.lane(app="other", asked=None, of_session=None) == "background"


def test_an_unknown_lane_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadRequest, match="did you mean background") as refusal:
        rules().lane(app="editor", asked="backgruond", of_session=None)

    assert refusal.value.field == "lane"
