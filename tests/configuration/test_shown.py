"""`umad config show > c.yaml` is a configuration: `config check` takes it, and it says the same."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import settings as given_with
from hypothesis import strategies as st

from umad.config import Settings
from umad.configuration.option import Option
from umad.configuration.options import ALIASES, APPS, LISTS, MODEL, OPTIONS, QOS
from umad.configuration.shown import shown_line
from umad.configuration.sources import load
from umad.errors import BadConfig

NOTHING = {"HOME": "/nonexistent"}
ROOT = Path(__file__).parents[2]

# What people write: each option is tried with all of these that it accepts.
TEXTS = (
    *("0", "1", "2", "16", "300", "512", "4096", "-1", "1.5", "0.25", "1e3", "320GBps", "2TB/s"),
    *("auto", "none", "all", "off", "true", "false", "yes", "on", "null", "~", "nano"),
    *("1KiB", "16MiB", "3GiB", "1500", "background", "numpy", "deadline", "debug", "warning"),
    *("f16", "q8", "q6", "q4", "head-major", "unified"),
    *("127.0.0.1:8080", "[::1]:0", "unix:/tmp/my socket", "https://example.org", "*"),
    *("192.168.1.0/24", "fd00::/8"),
    *("~/models", "/tmp/a # b", "/tmp/a: b", "it's", '"quoted"', "a, b", "[x", "{x}", "- x", "&x"),
    *("ümlaut", "two\nlines", " blanks ", "%TAG", "@x", "`x`", "!x", "?", "x:", "1_000", "0x10"),
)


def read_back(settings: Settings, folder: Path) -> Settings:
    """The settings of the file that `umad config show` prints."""
    path = folder / "c.yaml"
    lines = [f"{shown_line(option, settings)} # {option.name}\n" for option in OPTIONS]
    path.write_text("".join(lines))
    return load(environ=NOTHING, path=path).settings


def accepted(option: Option) -> Iterator[str]:
    for text in TEXTS:
        try:
            option.kind.read(text)
        except ValueError:
            continue
        yield text


def settings_with(option: Option, text: str) -> Settings | None:
    """None where another option would have to change too."""
    try:
        if option in (MODEL, *LISTS):  # in a flag, a comma or a bracket would end the text
            text = "['" + text.replace("'", "''") + "']"
        return load(environ=NOTHING, flags={option.name: text}).settings
    except BadConfig:
        return None


@pytest.mark.parametrize(
    "option", [one for one in OPTIONS if one not in (QOS, APPS, ALIASES)], ids=lambda one: one.name
)
def test_every_option_with_every_value_is_shown_as_it_is_read(
    option: Option, tmp_path: Path
) -> None:
    tried = [one for text in accepted(option) if (one := settings_with(option, text))]

    assert any(one != Settings() for one in tried), "TEXTS has no value of it"
    for settings in tried:
        assert read_back(settings, tmp_path) == settings


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("qos", "{fast: {priority: 20, floor: 0.00001}}", id="a lane of one's own"),
        pytest.param(
            "qos", "{no: {priority: 3}, 'on': {priority: 4}}", id="lanes like YAML's words"
        ),
        pytest.param("apps", "{zed: background, a: {latency_cap: 1.1}}", id="the order decides"),
        pytest.param("apps", "{'*': background, '/opt/a: b/*': interactive}", id="patterns"),
        pytest.param("apps", "{'123': background, 'null': background}", id="names like numbers"),
        pytest.param("keep_alive", "{'qwen*': 1h, nano: -1, '*': 0}", id="times of models"),
        pytest.param("aliases", "{'z-*': nano, 'a-*': other, '# x': 'y: z'}", id="aliases"),
    ],
)
def test_lanes_apps_and_aliases_too(name: str, text: str, tmp_path: Path) -> None:
    settings = load(environ=NOTHING, flags={name: text}).settings

    shown = read_back(settings, tmp_path)

    assert shown == settings
    assert list(shown.qos) == list(settings.qos)
    assert shown.apps == settings.apps
    assert shown.keep_alive == settings.keep_alive
    assert shown.http.aliases == settings.http.aliases


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
@example(text="-")
@given_with(deadline=None)
def test_whatever_text_a_path_is(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    # Such a path is refused: "~name" where nobody has that name.
    assume(not os.path.expanduser(text).startswith("~"))
    folder = Path(os.path.join(tmp_path_factory.getbasetemp(), "shown"))
    folder.mkdir(exist_ok=True)
    settings = settings_with(next(o for o in OPTIONS if o.name == "session_dir"), text)

    assert settings is not None
    assert read_back(settings, folder) == settings


def test_what_the_command_prints_is_checked_and_found_good(tmp_path: Path) -> None:
    path, again = tmp_path / "umad.yaml", tmp_path / "c.yaml"
    path.write_text("gpu_layers: -1\napps: {b: background, a: background}\nhttp: 127.0.0.1:1\n")

    def umad(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "umad", "config", *arguments],
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    again.write_text(umad("show", "--config", str(path)).stdout)
    checked = umad("check", "--config", str(again))

    assert (checked.returncode, checked.stderr) == (0, "")
    environ = {"HOME": str(tmp_path)}
    assert load(environ=environ, path=again).settings == load(environ=environ, path=path).settings
