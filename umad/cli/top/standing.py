"""Makes rows of text of the daemon's answers, at a given width. No screen, no socket. Pure.

A `Standing` is what the daemon said at one moment. Its tables have a fixed number of characters in
each row, so they look the same with a proportional cursor, over ssh, and in a picture. Keys that a
daemon of another version leaves out are shown as "-".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from umad.cli.printed import printable
from umad.cli.top.figures import age, cut, figure, meter, percent, right, sparkline
from umad.request import BACKGROUND, INTERACTIVE

Answer = Mapping[str, Any]
# The narrowest screen that is laid out; on a narrower one rows are cut at the right.
LEAST_WIDTH = 80
# From this width on, requests have a column that says what chose their lane.
WIDE = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of a table."""

    # What the row is about: an app, a request, a model. Unique in its table.
    key: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A heading and its rows, all of one width."""

    heading: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The daemon's answers of one moment."""

    models: Sequence[Answer] = ()
    sessions: Sequence[Answer] = ()
    card: Answer = field(default_factory=dict)

    def lanes(self) -> tuple[str, ...]:
        """The lanes that are known: the two that every daemon has, and those in use."""
        used = {str(row.get("lane")) for row in self.sessions} | set(self.card.get("lanes", ()))
        return tuple(dict.fromkeys((INTERACTIVE, BACKGROUND, *sorted(used))))

    def session(self, request: str) -> Answer | None:
        """The row of a live request."""
        return next((row for row in self.sessions if row.get("request") == request), None)

    # -- the head ------------------------------------------------------------------------------

    def head(self, width: int, *, plain: bool = False) -> tuple[str, ...]:
        """Four lines: speed, what readers feel, memory and traffic, the sparkline of gaps."""
        card = self.card
        running = sum(row.get("waits_for") is None for row in self.sessions)
        first = (
            f"{figure(card.get('tokens_per_s'))} tok/s  {running} running, "
            f"{len(self.sessions) - running} waiting  first token "
            f"{figure(card.get('ttft_p50_ms'))} ms (p95 {figure(card.get('ttft_p95_ms'))})"
        )
        ratio = card.get("p95_over_solo")
        second = (
            f"p95 {figure(card.get('p95_ms'))} ms, alone {figure(card.get('solo_ms'))} ms"
            f"{'' if ratio is None else f' (x{ratio:.2f})'}  longest "
            f"{figure(card.get('max_ms'))} ms  cap {figure(card.get('latency_cap'))} "
            f"{_held(card.get('guard_held'))}"
        )
        used, cells = card.get("kv_cells_used"), card.get("kv_cells_total")
        moved, budget = card.get("bmt_gbps"), card.get("bmt_budget_gbps")
        third = (
            f"BMT {meter(moved, budget, 10)} {figure(moved)} of {figure(budget)} GB/s  "
            f"KV {meter(used, cells, 10)} {figure(used)} of {figure(cells)}  "
            f"parked {figure(card.get('parked'))}"
        )
        gaps = [float(one) for one in card.get("longest_gaps_ms", ())]
        drawn = sparkline(gaps, 30, solo_ms=card.get("solo_ms"), plain=plain)
        lost = card.get("cores_lost_pct")
        fourth = (
            f"gaps |{drawn}| {figure(max(gaps, default=0.0))} ms at most  "
            f"cores lost {percent(lost)}"
        )
        return tuple(cut(line, width) for line in (first, second, third, fourth))

    # -- tables --------------------------------------------------------------------------------

    def apps(self, width: int, *, wanted: str = "", plain: bool = False) -> Table:
        """Who runs: the apps of the scorecard's window, and those that only wait as yet."""
        felt: Mapping[str, Answer] = self.card.get("apps", {})
        lanes: dict[str, set[str]] = {}
        live: dict[str, int] = {}
        for row in self.sessions:
            name = str(row.get("app"))
            lanes.setdefault(name, set()).add(str(row.get("lane")))
            live[name] = live.get(name, 0) + 1
        names = sorted(
            {*felt, *live}, key=lambda one: (not live.get(one), _background(lanes.get(one)), one)
        )
        spare = max(0, width - LEAST_WIDTH)
        name_chars, gap_chars = 17 + spare // 2, 9 + (spare - spare // 2)

        def row_of(*cells: str) -> str:
            app, lane, run, speed, first, p95, alone, times, late, gaps = cells
            return "".join(
                (
                    *(cut(app, name_chars - 1), " ", cut(lane, 11), right(run, 4)),
                    *(right(speed, 7), right(first, 7), right(p95, 6), right(alone, 6)),
                    *(right(times, 6), right(late, 6), " ", cut(gaps, gap_chars)),
                )
            )

        lines = []
        for name in names:
            row = felt.get(name, {})
            used = sorted(lanes.get(name, ()))
            if not _matches(wanted, name, *used):
                continue
            # Two that share the column are known by their beginnings.
            lane = "+".join([one[:5] for one in used]) if len(used) > 1 else "".join(used) or "-"
            ratio, late = row.get("p95_over_solo"), row.get("over_cap_pct")
            gaps = [float(one) for one in row.get("longest_gaps_ms", ())]
            lines.append(
                Line(
                    key=name,
                    text=row_of(
                        printable(name),
                        printable(lane),
                        str(live.get(name, 0)),
                        figure(row.get("tokens_per_s")),
                        figure(row.get("ttft_p50_ms")),
                        figure(row.get("p95_ms")),
                        figure(row.get("solo_ms")),
                        "-" if ratio is None else f"x{ratio:.2f}",
                        # The guard's promise in a sign, for those who see no colour.
                        "-" if late is None else f"{percent(late)}{_sign(row.get('guard_held'))}",
                        sparkline(gaps, gap_chars, solo_ms=row.get("solo_ms"), plain=plain),
                    ),
                )
            )
        heading = row_of(
            *("APP", "LANE", "RUN", "TOK/S", "FIRST", "P95", "ALONE", "xSOLO", "LATE", "GAPS")
        )
        return Table(heading=heading, lines=tuple(lines))

    def requests(self, width: int, *, wanted: str = "") -> Table:
        """The queue: those that wait first, each with its reason; the oldest first."""
        by_chars = 26 if width >= WIDE else 0
        spare = max(0, width - LEAST_WIDTH - by_chars)
        app_chars, why_chars = 15 + spare // 3, 22 + spare - spare // 3

        def row_of(*cells: str) -> str:
            request, app, lane, state, tokens, old, by, why = cells
            return "".join(
                (
                    *(cut(request, 8), cut(app, app_chars - 1), " ", cut(lane, 11), " "),
                    *(cut(state, 10), right(tokens, 7), right(old, 5), " "),
                    *((cut(by, by_chars - 1), " ") if by_chars else ()),
                    cut(why, why_chars),
                )
            )

        rows = sorted(
            self.sessions,
            key=lambda row: (row.get("waits_for") is None, -float(row.get("age_ms") or 0)),
        )
        lines = [
            Line(
                key=str(row.get("request")),
                text=row_of(
                    printable(str(row.get("request"))),
                    printable(str(row.get("app"))),
                    printable(str(row.get("lane"))),
                    printable(str(row.get("state"))),
                    figure(row.get("generated")),
                    age(float(row.get("age_ms") or 0)),
                    printable(str(row.get("lane_by") or "-")),
                    printable(str(row.get("waits_for") or "")),
                ),
            )
            for row in rows
            if _matches(
                wanted,
                *(str(row.get(key) or "") for key in ("request", "app", "lane")),
                *(str(row.get(key) or "") for key in ("model", "session", "state")),
            )
        ]
        heading = row_of(
            *("REQUEST", "APP", "LANE", "STATE", "TOKENS", "AGE", "CHOSEN BY", "WAITS FOR")
        )
        return Table(heading=heading, lines=tuple(lines))

    def engines(self, width: int, *, wanted: str = "") -> Table:
        """The models with their engines: state, work, restarts, cells and memory."""
        name_chars = 21 + max(0, width - LEAST_WIDTH)

        def row_of(*cells: str) -> str:
            name, state, live, waits, restarts, used, parked, memory = cells
            return "".join(
                (
                    *(cut(name, name_chars - 1), " ", cut(state, 10), right(live, 5)),
                    *(right(waits, 8), right(restarts, 9), right(used, 14)),
                    *(right(parked, 7), right(memory, 6)),
                )
            )

        cards: Mapping[str, Answer] = self.card.get("models", {})
        lines = []
        for row in self.models:
            name = str(row.get("name"))
            if not _matches(wanted, name, str(row.get("state"))):
                continue
            card = cards.get(name, {})
            cells = card.get("kv_cells_total") or row.get("n_cells")
            lines.append(
                Line(
                    key=name,
                    text=row_of(
                        printable(name),
                        printable(str(row.get("state"))),
                        figure(row.get("live")),
                        figure(row.get("waiting")),
                        figure(row.get("restarts")),
                        f"{figure(card.get('kv_cells_used'))}/{figure(cells)}",
                        figure(card.get("parked")),
                        figure(card.get("rss_gb")),
                    ),
                )
            )
        heading = row_of(
            *("ENGINE", "STATE", "LIVE", "WAITING", "RESTARTS", "KV CELLS", "PARKED", "GB")
        )
        return Table(heading=heading, lines=tuple(lines))


def _held(held: bool | None) -> str:
    return {None: "(nobody reads)", True: "HELD", False: "NOT HELD"}[held]


def _sign(held: bool | None) -> str:
    return "!" if held is False else ""


def _background(lanes: set[str] | None) -> bool:
    return lanes is not None and INTERACTIVE not in lanes


def _matches(wanted: str, *texts: str) -> bool:
    small = wanted.casefold()
    return not small or any(small in text.casefold() for text in texts)
