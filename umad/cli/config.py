"""Runs `umad config`: `show` and `check` the settings of a daemon that would start here and now.

`umad config example` prints the whole configuration file with every default.
"""

import json
import os
from pathlib import Path
from typing import Any

import click

from umad.cli.printed import printable
from umad.config import Settings
from umad.configuration.options import ALIASES, APPS, KEEP, LISTS, MODEL, OPTIONS, QOS
from umad.configuration.sample import sample_text
from umad.configuration.shown import shown_line
from umad.configuration.sources import LoadedSettings, default_path, load

_LIST_TARGETS = tuple(option.target for option in LISTS)


def show(path: Path | None, *, as_json: bool) -> None:
    """Print every option with its value and where that comes from."""
    loaded = load(environ=os.environ, path=path)
    if as_json:
        click.echo(json.dumps(option_rows(loaded), indent=2))
        return
    source = loaded.path or f"none ({default_path(os.environ)} does not exist)"
    click.echo(f"# file: {printable(str(source))}")
    for option in OPTIONS:
        origin = printable(loaded.origins.get(option.name, "default"))
        click.echo(f"{shown_line(option, loaded.settings):<48} # {origin}")


def check(path: Path | None) -> None:
    """Exit 0 when the configuration is good; say what is wrong and exit 2 otherwise."""
    loaded = load(environ=os.environ, path=path)
    click.echo(f"{loaded.path or 'the built-in defaults'}: good")


def example() -> None:
    """Print a configuration file with every option, its unit, default and effect."""
    click.echo(sample_text(), nl=False)


def option_rows(loaded: LoadedSettings) -> list[dict[str, Any]]:
    """[{name, value, from}] of every option, as YAML and JSON can say it."""
    return [
        {
            "name": option.name,
            "value": _plain(loaded.settings, option.target),
            "from": loaded.origins.get(option.name, "default"),
        }
        for option in OPTIONS
    ]


def _plain(settings: Settings, target: tuple[str, ...]) -> Any:
    if target == QOS.target:
        return {
            name: {"priority": lane.priority, "floor": lane.floor}
            for name, lane in settings.qos.items()
        }
    if target == APPS.target:
        return {
            rule.app: {
                name: value
                for name, value in (("lane", rule.lane), ("latency_cap", rule.latency_cap))
                if value is not None
            }
            for rule in settings.apps
        }
    if target == ALIASES.target:
        return dict(settings.http.aliases)
    if target == KEEP.target:
        return {pattern: KEEP.kind.write(seconds) for pattern, seconds in settings.keep_alive}
    if target == MODEL.target:
        return list(settings.models)
    value: Any = settings
    for name in target:
        value = getattr(value, name)
    return list(value) if target in _LIST_TARGETS else value
