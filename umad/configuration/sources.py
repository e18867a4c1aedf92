"""Gathers settings from flags, environment and file into one frozen `Settings`.

    flags > UMAD_… variables > YAML file > defaults

Every error is a `BadConfig` of one line that names the place (`umad.yaml:7`, `UMAD_CTX_SIZE`,
`--ctx-size`) and the nearest known key. `options` says which values an option accepts.
Reads the file once; holds no state.
"""

import dataclasses
import difflib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from umad.config import Settings
from umad.configuration.nodes import Given, hint, line_of, pairs_of, scalar
from umad.configuration.options import (
    ALIASES,
    APPS,
    KEEP,
    LISTS,
    MODEL,
    OPTIONS,
    QOS,
    Option,
)
from umad.configuration.refused import REFUSED, check_refused
from umad.configuration.rules import (
    check_app_lanes,
    read_app_rules,
    read_keep_alive,
    read_lanes,
)
from umad.errors import BadConfig
from umad.models.rope import contradiction
from umad.private_file import read_named

MAX_FILE_BYTES = 2**20
# umad's variables that are no options; the code that uses them reads them.
OTHER_VARIABLES = ("UMAD_CONFIG", "UMAD_MODELS", "UMAD_API_KEY", "UMAD_SERVICE_VERSION")

_NULL = "tag:yaml.org,2002:null"
_BY_NAME: dict[str, Option] = {o.name: o for o in OPTIONS} | {
    o.alias: o for o in OPTIONS if o.alias is not None
}
_BY_VARIABLE: dict[str, Option] = {v: o for o in OPTIONS for v in o.variables}
_GROUPS = {name.split(".")[0] for name in _BY_NAME if "." in name}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    """Settings, and the source of each option's value."""

    settings: Settings
    origins: Mapping[str, str] = field(default_factory=dict)
    # The file that was read.
    path: Path | None = None


def default_path(environ: Mapping[str, str], *, platform: str = sys.platform) -> Path:
    """The path of the platform's configuration file, whether it exists or not."""
    home = Path(environ.get("HOME") or "~").expanduser()
    if platform == "darwin":
        return home / "Library" / "Application Support" / "umad" / "umad.yaml"
    # The XDG base directory specification ignores relative paths.
    base = Path(environ.get("XDG_CONFIG_HOME", ""))
    return (base if base.is_absolute() else home / ".config") / "umad" / "umad.yaml"


def load(
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, str] | None = None,
    path: Path | None = None,
    platform: str = sys.platform,
) -> LoadedSettings:
    """Settings of this run. flags: text by option name; path: `--config`. Raises `BadConfig`."""
    named = path or (Path(environ["UMAD_CONFIG"]) if environ.get("UMAD_CONFIG") else None)
    source = named or default_path(environ, platform=platform)
    text = _read(source, must_exist=named is not None)
    given: dict[str, Given] = {}
    if text is not None:
        given.update((one.option.name, one) for one in _from_file(source, text))
    given.update((one.option.name, one) for one in _from_environment(environ))
    for name, text in (flags or {}).items():
        option = _BY_NAME[name]
        node = _text_node(option, text, option.flags[0])
        given[option.name] = Given(option=option, node=node, at=option.flags[0])
    return LoadedSettings(
        settings=_assemble(given),
        origins={name: one.at for name, one in given.items()},
        path=source if text is not None else None,
    )


def _from_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    for variable, text in sorted(environ.items()):
        if not variable.startswith("UMAD_") or not text:
            continue
        option = _BY_VARIABLE.get(variable)
        if option is not None:
            yield Given(option=option, node=_text_node(option, text, variable), at=variable)
        elif (name := variable.removeprefix("UMAD_").lower()) in REFUSED:
            check_refused(name, text, variable)
        elif variable not in OTHER_VARIABLES:
            # Only a likely typing error is refused, because other programs may use the prefix.
            near = difflib.get_close_matches(variable, _BY_VARIABLE, n=1, cutoff=0.85)
            if near:
                raise BadConfig(f"{variable}: unknown variable; did you mean {near[0]}?")


def _read(path: Path, *, must_exist: bool) -> str | None:
    try:
        raw = read_named(path, MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise BadConfig(f"{path}: a configuration file is at most {MAX_FILE_BYTES} bytes")
        return raw.decode()
    except FileNotFoundError as error:
        if must_exist:
            raise BadConfig(f"{path}: no such file; name another with --config") from error
        return None
    except OSError as error:
        raise BadConfig(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path}: not UTF-8 text") from error


def _from_file(path: Path, text: str) -> Iterator[Given]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError as error:
        raise BadConfig(f"{path}: not YAML: nested too deeply") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "a character YAML does not allow"
        raise BadConfig(f"{path}{line}: not YAML: {problem}") from error
    if root is None:
        return
    seen: dict[str, str] = {}
    for name, key, value in _entries(root, path, ""):
        option = _BY_NAME[name]
        at = line_of(path, key)
        if option.name in seen:
            raise BadConfig(f"{at}: {name} is given twice, first in {seen[option.name]}")
        seen[option.name] = at
        yield Given(option=option, node=value, at=at, path=path)


def _entries(node: yaml.Node, path: Path, group: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """(option name, key node, value node) of a map and of the groups in it; unknown keys raise."""
    if not isinstance(node, yaml.MappingNode):
        raise BadConfig(
            f"{line_of(path, node)}: {group or 'the file'} must be a map of keys to values"
        )
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise BadConfig(f"{line_of(path, key)}: a key is a word, not a list or map")
        name = f"{group}.{key.value}" if group else str(key.value)
        if name in _BY_NAME:
            yield name, key, value
        elif name in REFUSED:
            text = value.value if isinstance(value, yaml.ScalarNode) else None
            check_refused(name, text, line_of(path, key))
        elif name in _GROUPS and not group:
            yield from _entries(value, path, name)
        else:
            near = hint(name, [*_BY_NAME, *_GROUPS])
            raise BadConfig(f"{line_of(path, key)}: unknown key {name!r}{near}", field=name)


def _text_node(option: Option, text: str, at: str) -> yaml.Node:
    """The node for a variable's or flag's text; only options with structure are read as YAML."""
    if option in LISTS and not text.startswith("["):
        words = [yaml.ScalarNode("tag:yaml.org,2002:str", word.strip()) for word in text.split(",")]
        return yaml.SequenceNode("tag:yaml.org,2002:seq", words)
    # A time is no YAML: `-1` would be read as one, and `30m` need not be.
    is_map = option is KEEP and text.lstrip().startswith("{")
    is_list = option is MODEL and text.startswith("[")
    if option in (QOS, APPS, ALIASES, *LISTS) or is_map or is_list:
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except RecursionError as error:
            raise BadConfig(f"{at}: not YAML: nested too deeply") from error
        except yaml.YAMLError as error:
            raise BadConfig(f"{at}: not YAML: {getattr(error, 'problem', error)}") from error
        if node is not None:
            return node
    return yaml.ScalarNode("tag:yaml.org,2002:str", text)


def _assemble(given: Mapping[str, Given]) -> Settings:
    """The defaults, with the checked values laid over them group by group."""
    top: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for one in given.values():
        value = _value(one)
        if value is None:
            continue
        if len(one.option.target) == 1:
            top[one.option.target[0]] = value
        else:
            groups.setdefault(one.option.target[0], {})[one.option.target[1]] = value
    defaults = Settings()
    for group, values in groups.items():
        top[group] = dataclasses.replace(getattr(defaults, group), **values)
    settings = dataclasses.replace(defaults, **top)
    _check_together(settings, given)
    return settings


def _value(one: Given) -> Any:
    option = one.option
    if option is MODEL or option in LISTS:
        nodes = one.node.value if isinstance(one.node, yaml.SequenceNode) else [one.node]
        return tuple(scalar(option.name, option.kind, node, one) for node in nodes)
    if one.option is QOS:
        return read_lanes(one)
    if one.option is APPS:
        return read_app_rules(one)
    if one.option is KEEP:
        return read_keep_alive(one)
    if one.option is ALIASES:
        return tuple(
            (str(key.value), scalar(f"aliases.{key.value}", ALIASES.kind, value, one))
            for key, value in pairs_of("aliases", one.node, one)
        )
    if one.node.tag == _NULL:
        return None
    return scalar(one.option.name, one.option.kind, one.node, one)


def _check_together(settings: Settings, given: Mapping[str, Given]) -> None:
    """Check the rules that involve more than one option."""

    def fail(option: str, message: str) -> BadConfig:
        at = given[option].at if option in given else "defaults"
        return BadConfig(f"{at}: {message}", field=option)

    lanes = ", ".join(sorted(settings.qos))
    if settings.default_lane not in settings.qos:
        raise fail("default_lane", f"no lane {settings.default_lane!r}; there are {lanes}")
    if "apps" in given:
        check_app_lanes(given["apps"], settings.apps, settings.qos)
    if not settings.models:
        raise fail("model", "model must name at least one model")
    n_models = len({*settings.models, *settings.preload})
    if settings.max_models is not None and n_models > settings.max_models:
        option = "max_models" if "max_models" in given else "model"
        raise fail(
            option,
            f"max_models ({settings.max_models}) must not be below the {n_models} models that "
            "model and preload name",
        )
    if sum(one.floor for one in settings.qos.values()) >= 1:
        raise fail("qos", "floors of all lanes must sum to less than 1: their sum is 1 or more")
    engine = settings.engine
    if engine.ubatch > engine.batch:
        option = "ubatch" if "ubatch" in given else "batch"
        raise fail(option, f"ubatch ({engine.ubatch}) must not be above batch ({engine.batch})")
    if (
        engine.ctx_per_stream is not None
        and engine.ctx_size is not None
        and engine.ctx_per_stream > engine.ctx_size
    ):
        option = "ctx_per_stream" if "ctx_per_stream" in given else "ctx_size"
        raise fail(
            option,
            f"ctx_per_stream ({engine.ctx_per_stream}) must not be above ctx_size "
            f"({engine.ctx_size}), the cells of all streams together",
        )
    if (found := contradiction(engine)) is not None:
        raise fail(*found)
    if engine.kv_type != "f16" and not engine.flash_attention:
        option = "flash_attention" if "flash_attention" in given else "kv_type"
        raise fail(option, f"kv_type {engine.kv_type} needs flash_attention: true")
