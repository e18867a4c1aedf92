"""Each machine gets the service manager that it has, and the others are told what to do."""

import os
from pathlib import Path

import pytest

from tests.system_service.stand_ins import Launchctl, Systemctl
from umad.errors import BadConfig, Unsupported
from umad.system_service.choice import service_manager

HOME = {"HOME": "/home/ann"}


def test_macos_has_launchd() -> None:
    assert service_manager(HOME, "darwin", run=Launchctl()).name == "launchd"


def test_a_linux_with_systemd_has_systemd(tmp_path: Path) -> None:
    assert service_manager(HOME, "linux", run=Systemctl(), booted=tmp_path).name == "systemd"


@pytest.mark.parametrize("platform", ["linux", "freebsd14"])
def test_a_system_with_neither_is_told_what_to_run(tmp_path: Path, platform: str) -> None:
    with pytest.raises(Unsupported, match="umad serve"):
        service_manager(HOME, platform, booted=tmp_path / "none")


def test_on_linux_a_service_without_a_login_is_lingering(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="loginctl enable-linger"):
        service_manager(HOME, "linux", for_system=True, booted=tmp_path)


def test_an_agent_behind_sudo_would_be_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    with pytest.raises(BadConfig, match="without sudo, or with --system"):
        service_manager(HOME | {"SUDO_USER": "ann"}, "darwin", run=Launchctl())


def test_a_launchdaemon_needs_root_and_somebody_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 501)
    with pytest.raises(BadConfig, match="sudo umad service"):
        service_manager(HOME, "darwin", for_system=True)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for environ in ({}, {"SUDO_USER": "root"}):
        with pytest.raises(BadConfig, match="does not run as root"):
            service_manager(environ, "darwin", for_system=True)
    with pytest.raises(BadConfig, match="there is no user"):
        service_manager({"SUDO_USER": "nobody-of-that-name"}, "darwin", for_system=True)
