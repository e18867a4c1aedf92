"""Asks a person before something is changed, and shows the page about slowness.

Each lies on top of the screen and takes all keys until it is closed. Not: what is done with an
answer (`umad.cli.top.screen`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Static
from typing_extensions import override

_BOX = """
{name} {{ align: center middle; }}
{name} > Static {{
    width: auto; max-width: 100%; height: auto; max-height: 100%;
    border: solid ansi_default; padding: 0 1;
    background: ansi_default; color: ansi_default;
}}
"""


class Ask(ModalScreen[str | None]):
    """A question with answers of one key each. Gives the key's answer, or None where it is left.

    answers: by key, the words shown and the answer given.
    """

    DEFAULT_CSS = _BOX.format(name="Ask")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,ctrl+c", "leave", "Leave", show=False),
    ]

    def __init__(self, question: str, answers: Mapping[str, tuple[str, str]]) -> None:
        super().__init__()
        self._question = question
        self._answers = answers

    @override
    def compose(self) -> ComposeResult:
        keys = [f"{key}  {words}" for key, (words, _) in self._answers.items()]
        text = "\n".join((self._question, "", *keys, "esc  leave it"))
        yield Static(text, markup=False, id="question")

    def on_key(self, event: events.Key) -> None:
        """Take the answer of a key; other keys do nothing."""
        found = self._answers.get(event.character or event.key)
        if found is not None:
            event.stop()
            self.dismiss(found[1])

    def action_leave(self) -> None:
        """Close without an answer."""
        self.dismiss(None)


class Slowness(ModalScreen[None]):
    """The page about one app, drawn anew with each look at the daemon.

    lines: what it says now.
    """

    DEFAULT_CSS = _BOX.format(name="Slowness")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,s,enter,ctrl+c", "leave", "Back", show=False),
    ]

    def __init__(self, lines: Callable[[], Sequence[str]]) -> None:
        super().__init__()
        self._lines = lines

    @override
    def compose(self) -> ComposeResult:
        yield Static(self._text(), markup=False, id="slowness")

    def draw(self) -> None:
        """Say what is true now."""
        self.query_one("#slowness", Static).update(self._text())

    def action_leave(self) -> None:
        """Back to the tables."""
        self.dismiss(None)

    def _text(self) -> str:
        return "\n".join((*self._lines(), "", "esc  back"))
