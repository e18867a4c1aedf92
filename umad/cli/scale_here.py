"""Runs `umad scale launch --local`: an engine as a process of this machine, without a cloud.

Not: the process itself (`umad.scale.launch.here`). It needs no daemon; umad itself is started with
one of its own.
"""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from umad.cli.printed import printable
from umad.cli.scale import found_plan
from umad.errors import BadRequest, ModelLoadFailed
from umad.scale.launch import here
from umad.scale.launch import keys as api_keys
from umad.scale.launch.record import Record
from umad.scale.launch.records import Records

_KEY_NAME = "default"


def launch_here(
    kept: Records,
    name: str,
    model: str,
    accelerators: str,
    port: int,
    *,
    path: Path | None,
    given: Mapping[str, Any],
) -> int:
    """Start it, and say where it will answer."""
    engine = str(given["engine"])
    folder = Path(model).expanduser()
    if not folder.exists():
        raise ModelLoadFailed(
            f"{model[:120]!r} is not here: --local serves a folder of this machine", field="model"
        )
    folder = folder.absolute()
    home = kept.begin(name)
    key = api_keys.make((_KEY_NAME,))[_KEY_NAME]
    free = here.free_port(port)
    environment: dict[str, str] = {}
    if engine == "umad":
        kept.write_files(name, "keys", {_KEY_NAME: key + "\n"})
        text = yaml.safe_dump({"keys": [{"name": _KEY_NAME, "key": key, "role": "admin"}]})
        kept.write_files(name, "", {"keys.yaml": text})
        words = here.umad_words(here.model_file(folder), free, home / "keys.yaml")
    else:
        if not accelerators:
            raise BadRequest(
                "name the accelerators of this machine, such as RTX4090:1: the flags depend on "
                "them",
                field="accelerators",
            )
        plan = found_plan(str(folder), accelerators, path=path, **given)
        if not plan.fits:
            raise BadRequest(plan.refused, field="model")
        words = here.engine_words(plan.command, free)
        if engine == "vllm":
            kept.write_files(name, "keys", {_KEY_NAME: key + "\n"})
            environment[here.VLLM_KEY] = key
    started = here.start(words, home / "log", environment=environment)
    kept.write(
        Record(
            name=name,
            kind="here",
            engine=engine,
            model=str(folder),
            accelerators=accelerators,
            began_at_s=datetime.datetime.now(datetime.UTC).timestamp(),
            pid=started.pid,
            pid_began_s=started.began_s,
            port=free,
        )
    )
    click.echo(f"{name} starts at http://127.0.0.1:{free}")
    if (home / "keys").exists():
        click.echo(f"its key is in {printable(str(home / 'keys' / _KEY_NAME))}")
    else:
        click.echo("it has no key: SGLang takes one on its command line alone, where others see it")
    click.echo(f"its log is {printable(str(home / 'log'))}; umad scale down {name} ends it")
    return 0
