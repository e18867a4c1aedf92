"""Editors get what they read: the bytes that each sends, in its order, on its connection.

The fixtures are in editors/, one file an editor, each with its reference. What they expect is
written as in apps/ (`app_fixtures`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.gateway.app_fixtures import faults
from tests.gateway.gateways import LiveGateway
from tests.gateway.raw_http import RawConnection

FOLDER = Path(__file__).parent / "editors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request of an editor, and what the editor needs of the answer."""

    name: str
    # Its lines, as they go on the wire.
    head: str
    body: Any = None
    # Events of a stream that has no end.
    n_events: int | None = None
    expect: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """An editor's fixture."""

    editor: str
    reference: str
    exchanges: tuple[Exchange, ...]


def read_editor(path: Path) -> Editor:
    """One fixture."""
    given = yaml.safe_load(path.read_text())
    exchanges = tuple([Exchange(**one) for one in given.pop("exchanges")])
    return Editor(**given, exchanges=exchanges)


EDITORS = [read_editor(path) for path in sorted(FOLDER.glob("*.yaml"))]


@pytest.mark.parametrize("editor", EDITORS, ids=[one.editor for one in EDITORS])
def test_an_editor_gets_what_it_reads(editor: Editor, gateway: LiveGateway) -> None:
    missing: dict[str, list[str]] = {}
    with RawConnection(gateway.address) as connection:
        for one in editor.exchanges:
            body = b"" if one.body is None else json.dumps(one.body, separators=(",", ":")).encode()
            answer = connection.ask(one.head, body, n_events=one.n_events)
            if found := faults(one.expect, answer):
                missing[one.name] = found

    assert missing == {}


def test_every_fixture_says_where_it_was_read() -> None:
    assert all(one.reference and one.exchanges for one in EDITORS)


def test_what_llama_vim_shows_beside_its_text_comes_under_whole_paths(
    gateway: LiveGateway,
) -> None:
    """It looks for `timings/prompt_n` as one name of the answer."""
    (editor,) = [one for one in EDITORS if one.editor == "llama.vim"]
    ahead, gap, _ = editor.exchanges
    with gateway.http() as http:
        nothing = http.post("/infill", json=ahead.body).json()
        said = http.post("/infill", json=gap.body).json()

    assert nothing == {}
    assert set(said) == set(gap.body["response_fields"])
    assert said["timings/prompt_n"] + said["timings/predicted_n"] <= said["tokens_cached"]
