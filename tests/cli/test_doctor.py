"""`umad doctor` and `umad report`, against a daemon that has been told secrets."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from tests.cli.conftest import Fakes, Umad
from umad.doctor import engine, examination, report
from umad.doctor.privacy import Privacy, Private
from umad.errors import InternalError
from umad.memory_pressure import Stage
from umad.testing import FakeModel

# Each of them lies where umad reads, hears or is told it.
SECRETS = {
    "prompt": "planted-prompt-about-a-divorce",
    "session": "planted-session-name",
    "key": "sk-planted-9f8e7d6c5b4a",
    "app of a key": "planted-app-of-the-key",
    "token": "hf_plantedtoken123456",
    "password": "planted;pass 'word\"",
    "home": "planted-home",
    "user": "planted-user",
    "host of a page": "planted-host.example",
    "alias": "planted-alias",
    "app": "planted-rule",
    "model": "planted-finetune",
    "preloaded model": "planted-preload",
    "kept model": "planted-kept",
    "folder": "planted-folder",
    "lane": "planted-lane",
}
SOUND: Mapping[str, Any] = {
    "build": "0.3.36; CPU : AVX2 = 1",
    "devices": [{"name": "CPU", "description": "a processor", "kind": "cpu", "backend": "CPU"}],
    "struct_faults": [],
    "instructions": [],
    "repack": {},
    "repack_unknown": "",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No probe of the machine, and no library: tests/doctor has them."""
    monkeypatch.delitem(examination.CHECKS, "bandwidth")
    monkeypatch.setattr(engine, "look", lambda: SOUND)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration and an environment full of secrets; the configuration's path."""
    home = tmp_path / SECRETS["home"]
    folder = home / SECRETS["folder"]
    folder.mkdir(parents=True)
    keys = home / "keys.yaml"
    keys.write_text(f"{SECRETS['key']}: {{name: someone, app: {SECRETS['app of a key']}}}\n")
    keys.chmod(0o600)
    model = FakeModel().write(folder / f"{SECRETS['model']}.gguf")
    path = home / "umad.yaml"
    path.write_text(
        f"""
model: [{model}]
model_folder: [{folder}]
preload: [{SECRETS["preloaded model"]}]
keep_alive: {{"{SECRETS["kept model"]}-*": 5m}}
ctx_size: 4096
apps: {{{SECRETS["app"]}: {{lane: background}}}}
qos:
  interactive: {{priority: 10}}
  background: {{priority: 1}}
  {SECRETS["lane"]}: {{priority: 2}}
aliases: {{"{SECRETS["alias"]}*": nano}}
session_dir: {folder}
cors_origin: ["https://{SECRETS["host of a page"]}"]
api_key_file: {keys}
"""
    )
    for name, value in {
        "HOME": str(home),
        "USER": SECRETS["user"],
        "HF_TOKEN": SECRETS["token"],
        "SOME_PASSWORD": SECRETS["password"],
        "UMAD_API_KEY": SECRETS["key"],
    }.items():
        monkeypatch.setenv(name, value)
    return path


def test_a_report_has_what_a_maintainer_needs_and_nothing_that_was_planted(
    asking: Umad, fakes: Fakes, planted: Path, tmp_path: Path
) -> None:
    told = asking("run", "m", SECRETS["prompt"], "--session", SECRETS["session"], "--max-tokens=3")
    assert told.code == 0
    file = tmp_path / "report.json"

    ended = asking("report", str(file), "--config", str(planted))

    assert ended.code == 0, ended.err
    text = file.read_text()
    for what, secret in SECRETS.items():
        assert secret not in text, what
        assert json.dumps(secret)[1:-1] not in text, what
    assert str(tmp_path) not in text
    assert str(fakes.socket) not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = json.loads(text)
    assert found["daemon"] == "running"
    assert found["models"][0]["state"] == "ready"
    assert found["options"]["ctx_size"] == "4096"
    assert found["options"]["model"] == "set"
    assert found["llama_cpp"]["build"].startswith("0.3.36")
    assert {one["check"] for one in found["findings"]} >= {"settings", "memory", "service"}
    # What that is, is this machine's.
    assert found["scorecard"]["memory_given_up"] in {stage.value for stage in Stage}


def test_a_report_never_overwrites_a_file(asking: Umad, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("mine")

    ended = asking("report", str(file))

    assert ended.code == 2
    assert "is there already" in ended.err
    assert file.read_text() == "mine"


def test_a_report_that_would_have_a_secret_is_not_written() -> None:
    class Forgetful(Privacy):
        @override
        def clean(self, value: Any) -> Any:
            return value

    with pytest.raises(InternalError, match="secret would have been in it"):
        report.cleaned({"a": "hf_plantedtoken"}, Forgetful([Private("hf_plantedtoken", "secret")]))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("no such file: /home/ann/models/x.gguf", "no such file: <path>"),
        ("~/models/x.gguf is no GGUF", "<path> is no GGUF"),
        ("Ann asked", "<user> asked"),
        ("planning an annex", "planning an annex"),
        ("/dev/kfd says that there is a GPU", "/dev/kfd says that there is a GPU"),
        ("chmod 700 '/var/lib/my models'", "chmod 700 '<path> models'"),
        ("16/32 GB", "16/32 GB"),
    ],
)
def test_names_and_paths_are_taken_out_and_words_stay(text: str, cleaned: str) -> None:
    assert Privacy([Private("ann", "user")]).clean(text) == cleaned


def test_the_doctor_prints_findings_with_the_commands_that_mend_them(asking: Umad) -> None:
    ended = asking("doctor")

    assert "good   service" in ended.out
    assert "the daemon answers, 1 of 1 models are ready" in ended.out
    assert ended.out.splitlines()[-1].endswith("notes") or ended.out.splitlines()[-1].endswith(
        "note"
    )
    assert ended.code == (1 if "\nwrong" in ended.out else 0)


def test_the_doctor_is_json_for_programs(asking: Umad) -> None:
    ended = asking("doctor", "--json")
    found = json.loads(ended.out)

    assert found["healthy"] is (ended.code == 0)
    assert {"check", "state", "words", "mend"} == found["findings"][0].keys()
    assert {one["state"] for one in found["findings"]} <= {"good", "note", "wrong"}


def test_something_to_mend_makes_the_exit_code_1(umad: Umad, tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text("ctx_size: many\n")

    ended = umad("doctor", "--config", str(path))

    assert ended.code == 1
    assert "wrong  settings" in ended.out
    assert "mend:" in ended.out
    assert os.fspath(path) in ended.out
