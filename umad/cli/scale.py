"""Runs `umad scale plan MODEL NAME:COUNT`: how an engine would serve it, part by part.

Not: the arithmetic (`umad.scale`). It needs no daemon.
"""

import json
import shlex
from pathlib import Path

import click

from umad.cli.here import catalogue, library
from umad.cli.printed import printable
from umad.cli.tables import open_console, parameter_count, plain_table
from umad.errors import UmadError
from umad.estimate import bytes_words
from umad.exit_codes import DONE, FAILED
from umad.scale.accelerators import parse
from umad.scale.choice import Candidate, Wish
from umad.scale.draft import Draft, draft_of
from umad.scale.engines import EngineName
from umad.scale.plan import Plan, planned, title
from umad.scale.reading import find_config, find_shape
from umad.scale.weights import parameters

_MOST_OTHERS = 3


def plan(
    model: str,
    accelerators: str,
    engine: EngineName,
    nodes: int,
    context_tokens: int,
    quantization: str,
    kv_dtype: str,
    tp: int,
    pp: int,
    dp: int,
    by_expert: bool | None,
    draft: str | None,
    draft_method: str,
    draft_tokens: int,
    share: float,
    offline: bool,
    path: Path | None,
    as_json: bool,
) -> int:
    """Show how MODEL is split over accelerators, and what would fit where it does not."""
    found = found_plan(
        model,
        accelerators,
        path=path,
        engine=engine,
        nodes=nodes,
        context_tokens=context_tokens,
        quantization=quantization,
        kv_dtype=kv_dtype,
        tp=tp,
        pp=pp,
        dp=dp,
        by_expert=by_expert,
        draft=draft,
        draft_method=draft_method,
        draft_tokens=draft_tokens,
        share=share,
        offline=offline,
    )
    if as_json:
        click.echo(json.dumps(found.as_map()))
    else:
        _print(found)
    return DONE if found.fits else FAILED


def found_plan(
    model: str,
    accelerators: str,
    *,
    path: Path | None,
    engine: EngineName,
    nodes: int,
    context_tokens: int,
    quantization: str,
    kv_dtype: str,
    tp: int,
    pp: int,
    dp: int,
    by_expert: bool | None,
    draft: str | None,
    draft_method: str,
    draft_tokens: int,
    share: float,
    offline: bool,
) -> Plan:
    """The plan that options ask for. Raises the errors of whoever reads the model."""
    # A slip in a name is said before anybody is asked about the model.
    machines = parse(accelerators, nodes=nodes)
    wish = Wish(
        engine=engine,
        tp=tp,
        pp=pp,
        dp=dp,
        by_expert=by_expert,
        context_tokens=context_tokens,
        quantization=quantization.strip().lower(),
        kv_dtype=kv_dtype,
        share=share,
    )
    shape = find_shape(model, catalogue(path), gguf_here=_here(model, path), offline=offline)
    drafted = _draft(draft, draft_method, draft_tokens, offline=offline)
    return planned(shape, machines, wish, draft=drafted)


def _here(model: str, config: Path | None) -> Path | None:
    """The GGUF file of a model of this machine; None for another name."""
    if "/" in model:
        return None
    try:
        found = library(config=config).find(model, whole=True)
    except UmadError:  # a configuration that is wrong says nothing about a name
        return None
    return None if found is None else found.files.main


def _draft(name: str | None, method: str, n_tokens: int, *, offline: bool) -> Draft | None:
    if name is None:
        return None
    known, config, n_bytes = find_config(name, offline=offline)
    return draft_of(config, name=known, method=method, n_tokens=n_tokens, weights_bytes=n_bytes)


# -- for a person ----------------------------------------------------------------------------------


def _print(found: Plan) -> None:
    shape, chosen = found.shape, found.choice.chosen
    n_params = parameter_count(round(parameters(shape).total))
    method = f", {shape.quantization.method}" if shape.quantization is not None else ""
    click.echo(
        f"{printable(shape.name)}: {n_params} weights{printable(method)}, {title(found)} "
        f"on {found.machines}"
    )
    if chosen is None:
        click.echo(f"umad: {printable(found.refused)}", err=True)
        return
    split = chosen.split
    click.echo(f"TP={split.tp}, PP={split.pp}, DP={split.dp}, EP={split.ep}")
    _print_memory(chosen)
    for note in found.notes:
        click.echo(f"- {printable(note)}")
    others = found.choice.others[:_MOST_OTHERS]
    if others:
        listed = "; ".join(map(_split_words, others))
        click.echo(f"- Others that fit: {listed}.")
    click.echo()
    click.echo(printable(shlex.join(found.command)))


def _print_memory(chosen: Candidate) -> None:
    found = chosen.memory
    space, cells = found.workspace, found.cells
    room = f"{found.tokens:,} tokens, {_texts(found.texts)} of {found.context_tokens:,} at once"
    rows = [
        ("weights", found.weights_bytes, ""),
        ("draft", found.draft_bytes, "weights of the draft model"),
        ("activations", space.activation_bytes, "an estimate: what a step works in"),
        ("logits", space.logits_bytes, "an estimate"),
        ("latent", space.latent_bytes, "an estimate: keys and values that MLA makes of a prompt"),
        ("runtime", space.runtime_bytes, "an estimate: driver, graphs, collectives"),
        ("cells", found.room_bytes, room),
    ]
    table = plain_table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name, n_bytes, words in rows:
        if n_bytes:
            table.add_row(name, bytes_words(n_bytes), words)
    table.add_row("of", bytes_words(found.total_bytes), f"the engine gets {found.share:.0%}")
    if cells.token_bytes:
        table.add_row("a token", bytes_words(cells.token_bytes), "in layers that see everything")
    if cells.window_token_bytes:
        table.add_row("", bytes_words(cells.window_token_bytes), "in layers with a window")
    if cells.states_bytes:
        table.add_row("a text", bytes_words(cells.states_bytes), "states of recurrent layers")
    click.echo("one accelerator:")
    open_console().print(table)


def _split_words(one: Candidate) -> str:
    split = one.split
    parts = [f"TP={split.tp}"]
    parts += [
        f"{name}={degree}"
        for name, degree in (("PP", split.pp), ("DP", split.dp), ("EP", split.ep))
        if degree > 1
    ]
    return f"{' '.join(parts)} ({one.memory.tokens:,} tokens)"


def _texts(texts: float) -> str:
    return "1 text" if 1 <= texts < 2 else f"{int(texts):,} texts"
