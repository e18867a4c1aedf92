"""Runs `umad show MODEL`: what the disk says of one model, and how much of it would fit."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from umad.cli.estimate import estimated
from umad.cli.here import found, library
from umad.cli.printed import printable, shown_text
from umad.cli.stored import ago, row_of
from umad.cli.tables import byte_size, number, open_console, parameter_count, plain_table
from umad.configuration.sources import load
from umad.daemon.names import ModelFile
from umad.errors import BadRequest, UmadError
from umad.estimate import MemoryEstimate, bytes_words
from umad.models.adapters import read_adapter
from umad.models.catalogue import CatalogueEntry
from umad.models.facts import FileFacts
from umad.models.found import FoundModel, described
from umad.models.library import Library
from umad.models.ollama_layout import OllamaFacts, facts_beside
from umad.models.reference import parse

_MOST_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Everything that is known of one model. A part is None where nothing is."""

    model: FoundModel
    facts: FileFacts | None
    entry: CatalogueEntry | None
    # What a registry of Ollama's had beside it.
    beside: OllamaFacts | None
    licence: str
    used_s: int | None
    # The memory that it would take, or why that cannot be said.
    memory: MemoryEstimate | None
    no_memory: str


def show(name: str, *, template: bool, as_json: bool) -> None:
    """Show what is known of one model."""
    settings = load(environ=os.environ).settings
    here = library(settings)
    model, facts = described(found(here, name))
    if template:
        if facts is None or not facts.template:
            raise BadRequest(f"{model.name} has no chat template; it goes on with a text")
        click.echo(shown_text(facts.template))
        return
    memory, no_memory = None, model.problem
    if not model.problem and model.kind != "speech":
        try:
            file = ModelFile(name=model.name, path=model.files.main)
            memory = estimated(file, settings)
        except UmadError as error:
            no_memory = error.message
    beside = facts_beside(model)
    uses = {} if here.store is None else here.store.index.last_uses()
    known = _Known(
        model=model,
        facts=facts,
        entry=_entry_of(model, here),
        beside=beside,
        licence=_licence_of(model, here, facts, beside),
        used_s=uses.get(model.name),
        memory=memory,
        no_memory=no_memory,
    )
    if as_json:
        click.echo(json.dumps({**row_of(model, uses), **_as_map(known)}))
        return
    table = plain_table(show_header=False)
    is_adapter = facts is not None and facts.kind == "adapter"
    of_header = _of_adapter(known) if is_adapter else _of_header(known)
    if model.kind == "speech":
        of_header = _of_speech(known)
    for key, value in (*_of_disk(known), *of_header, *_of_maker(known)):
        table.add_row(key, printable(value))
    open_console().print(table)


def _as_map(known: _Known) -> Mapping[str, Any]:
    return {
        "licence": known.licence or None,
        "header": None if known.facts is None else asdict(known.facts),
        "catalogue": None if known.entry is None else asdict(known.entry),
        "ollama": None if known.beside is None else asdict(known.beside),
        "memory": None if known.memory is None else known.memory.as_map(),
    }


def _entry_of(model: FoundModel, here: Library) -> CatalogueEntry | None:
    by_name = here.catalogue.entries.get(model.name)
    if by_name is not None:
        return by_name
    with contextlib.suppress(BadRequest):  # a record may say anything of where it is from
        source = parse(model.source)
        return here.catalogue.of_repository(source.repository) if source.kind == "hub" else None
    return None


def _licence_of(
    model: FoundModel, here: Library, facts: FileFacts | None, beside: OllamaFacts | None
) -> str:
    stored = None if here.store is None else here.store.listed_as(model.name, model.files)
    said = (
        stored.licence if stored else "",
        facts.licence if facts else "",
        beside.licence if beside else "",
    )
    return next(filter(None, said), "")


def _of_disk(known: _Known) -> Sequence[tuple[str, str]]:
    model = known.model
    rows = [("model", model.name), ("place", model.place), ("from", model.source or "-")]
    rows += [("file", str(path)) for path in model.files.all]
    rows += [("size", byte_size(model.size_bytes)), ("last used", ago(known.used_s))]
    memory = known.memory
    if model.kind == "adapter" or (model.kind == "speech" and not model.problem):
        return rows  # one takes memory with its model, the other little more than its file
    if memory is None:
        rows.append(("cannot be served", known.no_memory))
    elif memory.refused:
        rows.append(("would be refused", memory.refused))
    else:
        total, all_of_it = bytes_words(memory.total_bytes), bytes_words(memory.machine_bytes)
        rows += [("fits", memory.fitting), ("memory", f"{total} of {all_of_it}")]
    return rows


def _of_header(known: _Known) -> Sequence[tuple[str, str]]:
    facts = known.facts
    if facts is None:
        return ()
    experts = f"{facts.experts_used} of {facts.n_experts}" if facts.n_experts else "-"
    return (
        ("title", facts.title or "-"),
        ("architecture", facts.architecture),
        ("parameters", f"{parameter_count(facts.n_params)} ({number(facts.n_params)})"),
        ("quantization", known.model.quantization or "-"),
        ("trained on texts of", f"{number(facts.trained_tokens)} tokens"),
        ("layers", number(facts.n_layers)),
        ("width", number(facts.width)),
        ("experts", experts),
        ("vocabulary", f"{number(facts.vocabulary)} tokens"),
        ("chat template", "yes" if facts.template else "no"),
        ("fills in text", "yes" if facts.fills_in else "no"),
        ("only embeds", "yes" if facts.embeds else "no"),
    )


def _of_adapter(known: _Known) -> Sequence[tuple[str, str]]:
    facts, name = known.facts, known.model.name
    if facts is None:
        return ()
    about, _ = read_adapter(known.model.files.main)
    acts = "on everything"
    if about.invocation:
        acts = f"from its invocation on (aLoRA): tokens {', '.join(map(str, about.invocation))}"
    return (
        ("title", facts.title or "-"),
        ("an adapter of", facts.base or "a model that it does not name"),
        ("architecture", facts.architecture),
        ("asked for as", f"MODEL+{name}, or MODEL+{name}@0.5"),
        ("acts", acts),
        ("rank", number(about.rank)),
        ("weights it changes", number(about.n_weights)),
        ("memory", byte_size(about.size_bytes)),
    )


def _of_speech(known: _Known) -> Sequence[tuple[str, str]]:
    facts = known.facts
    if facts is None:
        return ()
    return (
        ("title", facts.title or "-"),
        ("architecture", facts.architecture),
        ("parameters", f"{parameter_count(facts.n_params)} ({number(facts.n_params)})"),
        ("quantization", known.model.quantization or "-"),
        ("turns speech into text", "yes"),
        ("languages", "English" if facts.title.endswith(".en") else "about 100, and into English"),
    )


def _of_maker(known: _Known) -> Sequence[tuple[str, str]]:
    entry, facts, beside = known.entry, known.facts, known.beside
    rows = [("licence", known.licence or (entry.licence if entry else "-"))]
    if known.model.kind == "adapter":
        return rows
    sampling: Mapping[str, Any] = (
        (facts.sampling if facts else {})
        or (beside.params if beside else {})
        or (entry.sampling if entry else {})
    )
    if sampling:
        said = ", ".join(f"{key} {_figure(value)}" for key, value in sampling.items())
        rows.append(("its maker draws with", said))
    if beside is not None and beside.system:
        words = " ".join(beside.system.split())
        more = "…" if len(words) > _MOST_CHARS else ""
        rows.append(("its maker's system prompt", f"{words[:_MOST_CHARS]}{more}"))
    if entry is not None:
        rows += [("can", ", ".join(entry.does)), ("for", entry.purpose)]
        if entry.prefixes:
            rows.append(("tasks of its vectors", ", ".join(entry.prefixes)))
    return rows


def _figure(value: object) -> str:
    match value:
        case bool():
            return "on" if value else "off"
        case int() | float():
            return f"{value:g}"
        case tuple() | list():
            return " ".join(map(repr, value))
        case _:
            return str(value)
