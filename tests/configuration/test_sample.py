"""config/umad.yaml: written from the table of options, complete, and true."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from umad.cli.app import umad
from umad.config import Settings
from umad.configuration.options import (
    ALIASES,
    APPS,
    KEEP,
    LISTS,
    MODEL,
    OPTIONS,
    QOS,
    SCALARS,
    Option,
)
from umad.configuration.sample import default_text, sample_text
from umad.configuration.sources import load

SAMPLE = Path(__file__).parents[2] / "config" / "umad.yaml"
NOTHING = {"HOME": "/nonexistent"}


def name_of(option: Option) -> str:
    return option.name


def test_the_file_in_the_sources_is_what_the_table_of_options_says() -> None:
    assert SAMPLE.read_text() == sample_text(), "an option has changed: run `make config`"


def test_a_user_can_print_the_file_from_an_installed_umad() -> None:
    result = CliRunner().invoke(umad, ["config", "example"])

    assert (result.exit_code, result.output) == (0, sample_text())


def test_reading_the_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text(sample_text())

    assert load(environ=NOTHING, path=path).settings == Settings()


@pytest.mark.parametrize("option", OPTIONS, ids=name_of)
def test_every_option_says_what_it_sets_its_unit_and_what_a_change_does(option: Option) -> None:
    where = f"umad/configuration/options.py, option {option.name!r}"

    assert option.help.endswith("."), f"{where}: `help` is one sentence: the thing that is set"
    assert option.kind.unit, f"{where}: its kind needs a `unit`, such as unit='seconds'"
    assert option.effect.endswith("."), (
        f"{where}: `effect` says what a user notices when the value changes, or 'None: …' and why"
    )
    assert default_text(option) is not None or option.example, (
        f"{where}: its default is nothing, so it needs an `example` for config/umad.yaml"
    )


def test_an_option_without_its_texts_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="effect"):
        Option(name="x", target=("x",), kind=SCALARS[0].kind, help="X.")  # type: ignore[call-arg]


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.example], ids=name_of)
def test_an_example_is_one_the_option_accepts(option: Option, tmp_path: Path) -> None:
    group, _, key = option.name.rpartition(".")
    example = option.example.replace("\n", "\n    ")
    path = tmp_path / "umad.yaml"
    path.write_text(f"{group}:\n  {key}: {example}\n" if group else f"{key}: {example}\n")

    loaded = load(environ=NOTHING, path=path)

    assert loaded.settings != Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ctx_size", "4096"),
        ("gpu_layers", "all"),
        ("threads", "3"),
        ("latency_cap", "1.123456789"),
        ("scheduler.slice_ms", "250"),
        ("bmt_budget_gbps", "12.5GBps"),
        ("park_bytes", "auto"),
        ("session_bytes", "3GiB"),
        ("limits.frame_bytes", "1500"),
        ("mlock", "true"),
        ("http", "off"),
        ("kv_type", "q8"),
        ("keep_alive", "30m"),
        ("keep_alive", "90"),
        ("keep_alive", "-1"),
        ("max_models", "auto"),
    ],
)
def test_a_value_is_written_as_the_text_it_is_read_from(name: str, text: str) -> None:
    (kind,) = (option.kind for option in OPTIONS if option.name == name)

    assert kind.write(kind.read(text)) == text


def test_the_structured_options_are_the_only_ones_with_a_form_of_their_own() -> None:
    assert set(OPTIONS) == {*SCALARS, *LISTS, MODEL, KEEP, QOS, APPS, ALIASES}
