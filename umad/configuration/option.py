"""Defines one option: its name, the values it accepts, its place in `Settings`, its texts.

An option cannot be made without `help` and `effect`, because a reader of config/umad.yaml has only
these. Not: the list of options (`options`). Pure.
"""

from dataclasses import dataclass

from umad.configuration.kinds import ValueKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option. The names of its variable and its flag follow from its name."""

    name: str
    target: tuple[str, ...]  # path in `Settings`
    kind: ValueKind
    help: str  # one sentence: the thing that is set
    effect: str  # what a user notices when the value changes; nothing is left without one
    example: str = ""  # YAML lines below the key, shown where the default is nothing
    shown: bool = False  # stands in `umad serve --help`
    alias: str | None = None  # a second name, good in all three places

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the environment variable, the canonical one first."""
        return tuple("UMAD_" + n.replace(".", "_").upper() for n in self._names)

    @property
    def flags(self) -> tuple[str, ...]:
        """Spellings of the flag, the canonical one first."""
        return tuple("--" + n.replace(".", "-").replace("_", "-") for n in self._names)

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.name,) if self.alias is None else (self.name, self.alias)


def engine_option(
    name: str, kind: ValueKind, text: str, effect: str, *, example: str = "", shown: bool = False
) -> Option:
    """An option of `EngineSettings`, written without a group."""
    return Option(
        name=name,
        target=("engine", name),
        kind=kind,
        help=text,
        effect=effect,
        example=example,
        shown=shown,
    )


def nested_option(
    group: str, name: str, kind: ValueKind, text: str, effect: str, *, example: str = ""
) -> Option:
    """`group.name`, an option of the settings' field `group`."""
    return Option(
        name=f"{group}.{name}",
        target=(group, name),
        kind=kind,
        help=text,
        effect=effect,
        example=example,
    )


def gateway_option(
    name: str, kind: ValueKind, text: str, effect: str, *, example: str = ""
) -> Option:
    """`gateway.name`, an option of `HttpSettings`."""
    return Option(
        name=f"gateway.{name}",
        target=("http", name),
        kind=kind,
        help=text,
        effect=effect,
        example=example,
    )
