"""A service's daemon is the one that its user would start, with nothing secret written down."""

from pathlib import Path

import pytest

from umad.config import HttpSettings, LimitSettings, LoggingSettings, Settings
from umad.errors import BadConfig
from umad.system_service.job import left_behind, make_job, umad_command
from umad.version import __version__

UMAD = ("/opt/umad/bin/umad",)
OPTIONS = {"UMAD_CTX_SIZE": "ctx_size", "UMAD_SOCKET": "socket", "UMAD_HTTP": "http"}


def test_with_nothing_said_it_is_umad_serve_and_nothing_more() -> None:
    job = make_job(Settings(), umad=UMAD, environ={})

    assert job.command == ("/opt/umad/bin/umad", "serve")
    assert job.socket is None
    assert not job.at_login


def test_flags_of_the_installation_are_flags_of_the_daemon_with_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(socket="u.sock", http=HttpSettings(listen="127.0.0.1:8080"))

    job = make_job(settings, umad=UMAD, environ={}, config=Path("umad.yaml"), http="127.0.0.1:8080")

    assert job.command[2:] == (
        f"--config={tmp_path}/umad.yaml",
        f"--socket={tmp_path}/u.sock",
        "--http=127.0.0.1:8080",
    )
    assert job.socket == f"{tmp_path}/u.sock"


def test_http_clients_make_no_connection_to_the_socket_so_the_daemon_starts_at_the_login() -> None:
    settings = Settings(http=HttpSettings(listen="127.0.0.1:8080"))

    assert make_job(settings, umad=UMAD, environ={}).at_login


def test_places_of_models_go_along_and_keys_and_tokens_do_not() -> None:
    environ = {
        "UMAD_MODELS": "/disk/models",
        "HF_HUB_CACHE": "/disk/hf",
        "HF_TOKEN": "secret",
        "UMAD_API_KEY": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "OLLAMA_MODELS": "",
    }

    job = make_job(Settings(), umad=UMAD, environ=environ)

    assert job.environment == {
        "UMAD_MODELS": "/disk/models",
        "HF_HUB_CACHE": "/disk/hf",
        "UMAD_SERVICE_VERSION": __version__,
    }


def test_options_that_only_this_shell_has_are_named() -> None:
    environ = {
        "UMAD_CTX_SIZE": "4096",
        "UMAD_SOCKET": "/tmp/u.sock",
        "UMAD_HTTP": "",
        "UMAD_MODELS": "/models",
        "PATH": "/bin",
    }

    assert left_behind(environ, OPTIONS) == ["UMAD_CTX_SIZE (ctx_size)"]


def test_the_system_waits_longer_than_the_drain() -> None:
    settings = Settings(limits=LimitSettings(drain_s=300.0))

    assert make_job(settings, umad=UMAD, environ={}).stop_s > 300.0


def test_a_log_of_the_users_own_choice_stays(tmp_path: Path) -> None:
    named = Settings(logging=LoggingSettings(file="/var/log/mine.log"))

    with_own = make_job(Settings(), umad=UMAD, environ={}, log=tmp_path / "umad.log")
    with_named = make_job(named, umad=UMAD, environ={}, log=tmp_path / "umad.log")

    assert f"--logging-file={tmp_path}/umad.log" in with_own.command
    assert not [one for one in with_named.command if one.startswith("--logging-file")]


def test_what_depends_on_the_working_folder_here_does_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"UMAD_MODELS": "models", "HF_HUB_OFFLINE": "1", "LLAMA_CPP_LIB_PATH": "/opt/lib"}

    job = make_job(Settings(), umad=UMAD, environ=environ, http="unix:h.sock")

    assert f"--http=unix:{tmp_path}/h.sock" in job.command
    assert job.environment["UMAD_MODELS"] == f"{tmp_path}/models"
    assert job.environment["HF_HUB_OFFLINE"] == "1"
    assert job.environment["LLAMA_CPP_LIB_PATH"] == "/opt/lib", "llama_library: auto looks there"


def test_a_path_that_is_not_utf_8_is_refused_because_no_unit_can_hold_it() -> None:
    with pytest.raises(BadConfig, match="UTF-8"):
        make_job(Settings(), umad=("/opt/\udcff/umad",), environ={})


@pytest.mark.parametrize("text", ["a\nExecStart=/bin/sh", "a\x00", "a\x7f"])
def test_a_word_that_would_be_a_line_of_its_own_is_refused(text: str) -> None:
    with pytest.raises(BadConfig, match="control characters"):
        make_job(Settings(), umad=(text,), environ={})
    with pytest.raises(BadConfig, match="control characters"):
        make_job(Settings(), umad=UMAD, environ={"UMAD_MODELS": text})


def test_the_script_is_named_by_its_link_which_an_upgrade_keeps(tmp_path: Path) -> None:
    versioned = tmp_path / "Cellar" / "1.0" / "umad"
    versioned.parent.mkdir(parents=True)
    versioned.write_text("#!/bin/sh\n")
    versioned.chmod(0o755)
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "umad"
    link.symlink_to(versioned)

    assert umad_command("umad", str(link.parent)) == [str(link)]
    assert umad_command(str(link), None) == [str(link)]


def test_without_a_script_it_is_this_interpreter_which_reads_no_working_folder() -> None:
    command = umad_command("/somewhere/umad/__main__.py", "/bin")

    assert Path(command[0]).is_absolute()
    assert "-I" in command
    assert command[-1] == "umad"
