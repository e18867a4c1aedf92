"""Options of other servers that would change answers are refused with the reason."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from umad.cli.app import umad
from umad.config import Settings
from umad.configuration.sources import load
from umad.errors import BadConfig

NOTHING = {"HOME": "/nonexistent"}


@pytest.mark.parametrize("text", ["true", "on", "1"])
@pytest.mark.parametrize("name", ["context_shift", "ctx_shift"])
def test_a_shifted_context_is_refused_in_a_file_and_in_a_variable(
    tmp_path: Path, name: str, text: str
) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text(f"{name}: {text}\n")

    with pytest.raises(BadConfig, match=rf"umad.yaml:1: {name} is not offered: .*ctx_per_stream"):
        load(environ=NOTHING, path=path)
    with pytest.raises(BadConfig, match=rf"^UMAD_{name.upper()}: {name} is not offered"):
        load(environ=NOTHING | {f"UMAD_{name.upper()}": text})


def test_a_shifted_context_is_refused_on_the_command_line() -> None:
    result = CliRunner().invoke(umad, ["serve", "--context-shift", "nano"])

    assert result.exit_code != 0
    assert isinstance(result.exception, BadConfig)
    assert "--context-shift: context_shift is not offered" in result.exception.message


@pytest.mark.parametrize("text", ["false", "off", "0"])
def test_a_context_that_is_not_shifted_is_what_there_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text(f"context_shift: {text}\n")

    loaded = load(environ=NOTHING | {"UMAD_CTX_SHIFT": text}, path=path)

    assert loaded.settings == Settings()


def test_what_is_no_switch_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text("context_shift: [1]\n")

    with pytest.raises(BadConfig, match="context_shift must be true or false"):
        load(environ=NOTHING, path=path)
