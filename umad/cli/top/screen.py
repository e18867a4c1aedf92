"""Draws `umad top` with Textual, and carries out its keys.

The daemon is asked once a second by one task. While it does not answer, the last figures stay, with
a line that says so, and it is asked again; a daemon that was started again is found by itself.
Not: what the rows say (`umad.cli.top.standing`). Owner: the command's event loop.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Protocol

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Input, Static
from typing_extensions import override

from umad.cli.printed import printable
from umad.cli.top.dialogs import Ask, Slowness
from umad.cli.top.slowness import slowness_lines
from umad.cli.top.standing import Standing, Table
from umad.errors import UmadError, UnknownRequest

EVERY_S = 1.0
# No look takes longer; the next one begins after it.
LOOK_S = 10.0
# The most rows of one table that are drawn. Nobody scrolls further, and each costs time.
MOST_ROWS = 500
APPS, REQUESTS, ENGINES = "apps", "requests", "engines"


class Operator(Protocol):
    """What the screen asks of the daemon: a part of `umad.service.Service`."""

    async def models(self) -> Any:
        """The rows of all models."""
        ...

    async def sessions(self) -> Any:
        """The rows of all live requests."""
        ...

    async def metrics(self) -> Any:
        """The scorecard."""
        ...

    async def cancel(self, request: str) -> None:
        """End a request."""
        ...

    async def set_priority(self, target: str, lane: str) -> int:
        """Move a request to a lane."""
        ...

    async def unload(self, model: str) -> None:
        """End a model's engine."""
        ...


async def look(daemon: Operator) -> Standing:
    """Ask the daemon for all that is shown. Raises the error that says why it does not answer."""
    models, sessions, card = await asyncio.gather(
        daemon.models(), daemon.sessions(), daemon.metrics()
    )
    return Standing(models=models, sessions=sessions, card=card)


class Rows(DataTable[Text]):
    """One table. Its cursor stays on what it is about while rows come and go."""

    # Textual's own would move by columns, of which a row has one.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "scroll_top", "First", show=False),
        Binding("end", "scroll_bottom", "Last", show=False),
    ]

    def __init__(self, name: str) -> None:
        super().__init__(id=name, cursor_type="row", cell_padding=0, show_cursor=False)
        self._heading = ""

    def draw(self, table: Table) -> None:
        """Show other rows."""
        chosen, at = self.chosen, self.cursor_row
        if table.heading != self._heading:
            self._heading = table.heading
            self.clear(columns=True)
            # A text and not a str, which could be markup.
            self.add_column(Text(table.heading), width=len(table.heading))
        else:
            self.clear()
        lines = table.lines[:MOST_ROWS]
        for line in lines:
            self.add_row(Text(line.text, no_wrap=True, end=""), key=line.key)
        if n_more := len(table.lines) - len(lines):
            # It is about nothing that a key could act on.
            self.add_row(Text(f"and {n_more} more; / shows those with a text in them"))
        keys = [line.key for line in lines]
        if keys:
            row = keys.index(chosen) if chosen in keys else min(at, len(keys) - 1)
            self.move_cursor(row=max(0, row))

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor; None in an empty table."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return self.ordered_rows[self.cursor_row].key.value

    def on_focus(self) -> None:
        """Only the table that keys act on shows its cursor."""
        self.show_cursor = True

    def on_blur(self) -> None:
        """See `on_focus`."""
        self.show_cursor = False


class TopScreen(App[None]):
    """The whole screen. daemon: whom to ask. plain: the terminal has only ASCII."""

    TITLE = "umad top"
    ENABLE_COMMAND_PALETTE = False
    # Reverse, bold and underline, and the terminal's own colours: the same with NO_COLOR.
    CSS = """
    #head { height: 4; }
    #told { height: 1; text-style: bold; }
    DataTable {
        background: ansi_default; color: ansi_default; scrollbar-size: 1 1; overflow-x: hidden;
    }
    DataTable > .datatable--header {
        background: ansi_default; color: ansi_default; text-style: bold underline;
    }
    DataTable > .datatable--cursor {
        background: ansi_default; color: ansi_default; text-style: reverse;
    }
    DataTable:focus > .datatable--cursor {
        background: ansi_default; color: ansi_default; text-style: reverse;
    }
    #apps { height: 6fr; }
    #requests { height: 7fr; }
    #engines { height: 4fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "slowness", "Who slows me"),
        Binding("c", "cancel", "Cancel"),
        Binding("l", "lane", "Lane"),
        Binding("u", "unload", "Unload"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
        Binding("escape", "unfilter", "All", show=False),
    ]

    def __init__(
        self,
        daemon: Operator,
        first: Standing | None = None,
        *,
        every_s: float = EVERY_S,
        plain: bool = False,
    ) -> None:
        super().__init__(ansi_color=True)
        self._daemon = daemon
        self._every_s = every_s
        self._plain = plain
        self._wanted = ""
        # The latest answer; older than now while the daemon does not answer.
        self.standing = first or Standing()
        self._is_lost = False
        # The tables are there.
        self._is_composed = False

    @override
    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        yield Rows(APPS)
        yield Rows(REQUESTS)
        yield Rows(ENGINES)
        yield Input(id="filter", placeholder="app, lane, model, session or state", compact=True)
        yield Static(id="told", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Draw what is known, and begin to look."""
        self.theme = "ansi-dark"
        self._is_composed = True
        self.query_one("#filter", Input).display = False
        self._table(APPS).focus()
        self.draw()
        self.run_worker(self._watch(), group="watch")

    def on_resize(self, event: events.Resize) -> None:
        """The rows are laid out for the new width."""
        self.call_after_refresh(self.draw)

    # -- looking -----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.look_once()

    async def look_once(self) -> None:
        """Ask the daemon once and draw the answer, or say why there is none."""
        try:
            async with asyncio.timeout(LOOK_S):
                self.standing = await look(self._daemon)
        except TimeoutError:
            self._lose(f"the daemon has not answered for {LOOK_S:.0f} s")
        except UmadError as error:
            self._lose(error.message)
        else:
            if self._is_lost:
                self.tell("")
            self.draw()

    def _lose(self, why: str) -> None:
        self.tell(f"{why}; these figures are older, and it is asked again")
        self._is_lost = True

    def tell(self, words: str) -> None:
        """Say one line above the keys."""
        self._is_lost = False
        self.screen_stack[0].query_one("#told", Static).update(printable(words))

    def draw(self) -> None:
        """Draw the standing that is known."""
        if not self._is_composed:  # the terminal told its size before
            return
        now, width = self.standing, self.size.width
        head = now.head(width, plain=self._plain)
        self.screen_stack[0].query_one("#head", Static).update("\n".join(head))
        # A scrollbar takes one column where a table is longer than its place.
        self._table(APPS).draw(now.apps(width, wanted=self._wanted, plain=self._plain))
        self._table(REQUESTS).draw(now.requests(width, wanted=self._wanted))
        self._table(ENGINES).draw(now.engines(width, wanted=self._wanted))
        if isinstance(self.screen, Slowness):
            self.screen.draw()

    def _table(self, name: str) -> Rows:
        # Of the first screen, though a dialog may lie on it.
        return self.screen_stack[0].query_one(f"#{name}", Rows)

    # -- keys --------------------------------------------------------------------------------------

    def action_slowness(self) -> None:
        """Who slows the chosen app?"""
        app = self._chosen_app()
        if app is None:
            self.tell("choose an app, or a request of it, with the arrow keys")
            return
        self.push_screen(
            Slowness(lambda: slowness_lines(app, self.standing.card, self.standing.sessions))
        )

    def action_cancel(self) -> None:
        """End the chosen request."""
        request = self._chosen(REQUESTS)
        row = None if request is None else self.standing.session(request)
        if request is None or row is None:
            self.tell("c ends a request: choose one in the second table (tab)")
            return
        self._ask(
            f"Cancel {printable(request)} of {printable(str(row.get('app')))}?",
            {"y": ("cancel it", request)},
            lambda chosen: self._daemon.cancel(chosen),
            f"{request} is cancelled",
        )

    def action_lane(self) -> None:
        """Move the chosen request, or all requests of the chosen app, to another lane."""
        app, request = self._chosen(APPS), self._chosen(REQUESTS)
        targets = [request] if request is not None else self._requests_of(app)
        if not targets:
            self.tell("l moves a request, or an app that has some: choose one")
            return
        what = targets[0] if len(targets) == 1 else f"{len(targets)} requests of {app}"
        lanes = self.standing.lanes()[:9]
        self._ask(
            f"Which lane for {printable(what)}?",
            {str(n): (printable(lane), lane) for n, lane in enumerate(lanes, 1)},
            lambda lane: self._move(targets, lane),
            f"{what} moved",
        )

    def action_unload(self) -> None:
        """End the engine of the chosen model."""
        model = self._chosen(ENGINES)
        if model is None:
            self.tell("u unloads a model: choose one in the third table (tab)")
            return
        live = sum(row.get("model") == model for row in self.standing.sessions)
        self._ask(
            f"Unload {printable(model)}? {live} requests run or wait on it and would fail.",
            {"y": ("unload it", model)},
            lambda chosen: self._daemon.unload(chosen),
            f"{model} is unloaded",
        )

    def action_filter(self) -> None:
        """Show only rows that have a text in them."""
        line = self.query_one("#filter", Input)
        line.display = True
        line.focus()

    def action_unfilter(self) -> None:
        """Show all rows again."""
        self.query_one("#filter", Input).value = ""
        self._wanted = ""
        self._close_filter()
        self.draw()

    def on_input_changed(self, event: Input.Changed) -> None:
        """The rows follow each key."""
        self._wanted = event.value.strip()
        self.draw()

    def on_input_submitted(self) -> None:
        """The filter stays; keys act on tables again."""
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        self.tell(f"only rows with {self._wanted!r}; esc shows all" if self._wanted else "")
        self._table(APPS).focus()

    # -- what is chosen ----------------------------------------------------------------------------

    def _chosen(self, name: str) -> str | None:
        table = self._table(name)
        return table.chosen if table.has_focus else None

    def _chosen_app(self) -> str | None:
        request = self._chosen(REQUESTS)
        row = None if request is None else self.standing.session(request)
        return self._chosen(APPS) if row is None else str(row.get("app"))

    def _requests_of(self, app: str | None) -> list[str]:
        rows = self.standing.sessions if app is not None else ()
        return [str(row["request"]) for row in rows if row.get("app") == app]

    def _ask(
        self,
        question: str,
        answers: dict[str, tuple[str, str]],
        order: Callable[[str], Coroutine[Any, Any, object]],
        done: str,
    ) -> None:
        def answered(chosen: str | None) -> None:
            if chosen is not None:
                self.run_worker(self._carry_out(order(chosen), done))

        self.push_screen(Ask(question, answers), answered)

    async def _carry_out(self, order: Coroutine[Any, Any, object], done: str) -> None:
        try:
            await order
        except UmadError as error:
            self.tell(error.message)
        else:
            self.tell(done)
            await self.look_once()

    async def _move(self, targets: list[str], lane: str) -> None:
        """Move those that are still there. Raises the error where none is."""
        moved, gone = 0, None
        for target in targets:
            try:
                await self._daemon.set_priority(target, lane)
                moved += 1
            except UnknownRequest as error:  # it has ended meanwhile
                gone = error
        if gone is not None and not moved:
            raise gone
