"""What an editor may set is read, and what it may not is named."""

from typing import Any

import pytest

from umad.errors import BadRequest
from umad.lsp.settings import LspSettings, settings_of


def test_nothing_set_is_the_defaults() -> None:
    assert (
        settings_of(None) == settings_of({}) == settings_of({"completion": None}) == LspSettings()
    )


def test_every_setting_is_read() -> None:
    found = settings_of(
        {
            "lane": "background",
            "completion": {
                "enabled": False,
                "model": " coder ",
                "lines": "single",
                "debounce_ms": 10.0,
            },
        }
    )

    assert found == LspSettings(
        lane="background", enabled=False, model="coder", lines="single", debounce_ms=10
    )


def test_what_is_not_set_stays_as_the_command_line_said() -> None:
    assert settings_of({"lane": "x"}, LspSettings(model="coder")).model == "coder"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "umad must be an object"),
        ({"lan": "x"}, "there is no setting lan of umad.*lane"),
        ({"lane": 1}, "lane must be a text"),
        ({"completion": "on"}, "completion must be an object"),
        ({"completion": {"debounce": 1}}, "debounce_ms"),
        ({"completion": {"lines": "many"}}, "auto, single, multi"),
        ({"completion": {"lines": []}}, "auto, single, multi"),
        ({"completion": {"enabled": "yes"}}, "true or false"),
        ({"completion": {"debounce_ms": -1}}, "0 to 2000"),
        ({"completion": {"debounce_ms": 0.5}}, "0 to 2000"),
        ({"completion": {"debounce_ms": True}}, "0 to 2000"),
    ],
)
def test_a_wrong_setting_is_named(value: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        settings_of(value)
