"""Draws charts, SVG and PNG, from the JSON documents the benchmarks write.

    python -m bench.charts mixed.json overhead.json --into bench/charts

Each table becomes a chart: a panel for each of its rows, a bar for each contender, the range as a
whisker. Four charts differ: the cost of background work (`cost`), speed against the bytes
a token moves (`longctx`), a day (`fleet`), and the curve of `newcomers`. Not: measuring; only
places on paper are computed here. The same document gives the same SVG, byte for byte. Owner: the
caller's main thread.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from bench.errors import BenchError

Document = Mapping[str, Any]
_COLUMNS = 4
_PANEL_INCHES = (3.0, 2.2)
# Told apart also without colour vision (Okabe and Ito).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ("-", "--", ":", "-.")
_STYLE = {
    "svg.hashsalt": "umad",  # else ids of elements are random
    "svg.fonttype": "none",  # text stays text
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# The rows of `bench.mixed` that are times between tokens.
_COST_ROWS = ("wait p50, ms", "wait p95, ms", "wait p99, ms", "longest wait, ms")
_COST = "cost-"
# The table of `bench.fleet` that is a line in time.
_DAY = "day"
# The table of `bench.newcomers` with a point for each setting.
_THINKING = "thinking"


def draw(document: Document, folder: Path) -> list[Path]:
    """Writes every chart of a document; the files, SVG before PNG. Raises BenchError."""
    comparisons = document.get("comparisons")
    if not comparisons:
        raise BenchError(f"a document of {document.get('benchmark')!r} has no tables to draw")
    with mpl.rc_context(_STYLE):
        drawn = {each["kind"]: _panels(each) for each in comparisons if each["kind"] != _DAY}
        if any(kind.startswith(_COST) for kind in drawn):
            drawn["cost"] = _cost([each for each in comparisons if each["kind"].startswith(_COST)])
        if _THINKING in drawn:
            drawn["curve"] = _curve(comparisons)
        special = _SPECIAL.get(document["benchmark"])
        if special is not None:
            drawn[special.__name__.strip("_")] = special(comparisons)
        files = []
        for kind, figure in drawn.items():
            for ending, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
                path = folder / f"{document['benchmark']}-{kind}.{ending}"
                figure.savefig(path, metadata=metadata, dpi=150, bbox_inches="tight")
                files.append(path)
    return files


def _panels(comparison: Mapping[str, Any]) -> Figure:
    """A panel a row; rows may have units of their own, so no two share an axis."""
    rows = _by_row(comparison)
    columns = min(_COLUMNS, len(rows))
    lines = math.ceil(len(rows) / columns)
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * lines), layout="constrained")
    figure.suptitle(comparison["title"])
    contenders = _contenders(rows)
    axes = figure.subplots(lines, columns, squeeze=False)
    for index, axis in enumerate(axes.flat):
        if index >= len(rows):
            axis.set_axis_off()
            continue
        label, measured = list(rows.items())[index]
        axis.set_title(label if "," in label else f"{label}, {comparison['unit']}", fontsize=9)
        for place, contender in enumerate(contenders):
            if contender in measured:
                _bar(axis, place, measured[contender], _COLOURS[place % len(_COLOURS)])
        axis.set_xticks(range(len(contenders)), contenders, rotation=20, ha="right")
    return figure


def _cost(comparisons: Sequence[Mapping[str, Any]]) -> Figure:
    """Beside background work against alone, each contender against itself; 1 is no cost."""
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axis = figure.subplots()
    wide = 0.8 / len(comparisons)
    for index, comparison in enumerate(comparisons):
        name = comparison["title"].rpartition(": ")[2].partition(",")[0]
        found = {
            row[comparison["condition"]]: row["ratio"]
            for row in comparison["rows"]
            if row["ratio"] is not None
        }
        places = [place + index * wide for place, row in enumerate(_COST_ROWS) if row in found]
        ratios = [found[row] for row in _COST_ROWS if row in found]
        axis.bar(
            places,
            [ratio["median"] for ratio in ratios],
            width=wide,
            yerr=_whiskers(ratios),
            label=name,
            color=_COLOURS[index % len(_COLOURS)],
            capsize=2,
        )
    middle = (len(comparisons) - 1) * wide / 2
    labels = [row.partition(",")[0] for row in _COST_ROWS]
    axis.set_xticks([place + middle for place in range(len(_COST_ROWS))], labels)
    axis.set_yscale("log")
    axis.axhline(1.0, color="black", linewidth=0.8)
    axis.set_ylabel("times as long as alone")
    axis.set_title("What a client that sends long prompts costs the interactive ones")
    axis.legend(frameon=False)
    return figure


def _bytes(comparisons: Sequence[Mapping[str, Any]]) -> Figure:
    """Tokens a second against the bytes a token moves; a line a depth and contender."""
    by_kind = {each["kind"]: each for each in comparisons}
    speeds, bytes_moved = by_kind["speed"], by_kind["bmt"]
    moved = {
        (row["contender"], row[bytes_moved["condition"]]): row["median"]
        for row in bytes_moved["rows"]
    }
    lines: dict[tuple[str, str], list[tuple[float, Mapping[str, Any], str]]] = {}
    for row in speeds["rows"]:
        kv_type, _, depth = row[speeds["condition"]].partition(" at ")
        at = (moved[kv_type, depth], row, kv_type)
        lines.setdefault((row["contender"], depth), []).append(at)
    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axis = figure.subplots()
    contenders = list(dict.fromkeys(contender for contender, _ in lines))
    depths = list(dict.fromkeys(depth for _, depth in lines))
    for (contender, depth), points in lines.items():
        points.sort(key=lambda point: point[0])
        spreads = [row for _, row, _ in points]
        axis.errorbar(
            [mb for mb, _, _ in points],
            [row["median"] for row in spreads],
            yerr=_whiskers(spreads),
            marker="o",
            linestyle=_DASHES[depths.index(depth) % len(_DASHES)],
            capsize=2,
            color=_COLOURS[contenders.index(contender) % len(_COLOURS)],
            label=f"{contender}, {depth}",
        )
        for mb, row, kv_type in points:
            axis.annotate(
                kv_type, (mb, row["median"]), textcoords="offset points", xytext=(4, 4), fontsize=7
            )
    axis.set_xlabel("MB moved for a token (weights, KV cells, logits)")
    axis.set_ylabel("tokens/s")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8)
    return figure


def _day(comparisons: Sequence[Mapping[str, Any]]) -> Figure:
    """A line a contender, hour by hour."""
    (day,) = [each for each in comparisons if each["kind"] == _DAY]
    figure = Figure(figsize=(6.5, 3.2), layout="constrained")
    axis = figure.subplots()
    rows = _by_row(day)
    for place, contender in enumerate(_contenders(rows)):
        axis.plot(
            [int(hour) + 0.5 for hour in rows],
            [measured[contender]["median"] for measured in rows.values()],
            label=contender,
            color=_COLOURS[place % len(_COLOURS)],
            linestyle=_DASHES[place % len(_DASHES)],
        )
    axis.set_xlabel("hour of the simulated day")
    axis.set_ylabel(f"beyond their cap, {day['unit']}")
    axis.set_title(day["title"])
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8)
    return figure


def _curve(comparisons: Sequence[Mapping[str, Any]]) -> Figure:
    """The first token against the longest gaps of the streams beside it; a point a setting."""
    (thinking,) = [each for each in comparisons if each["kind"] == _THINKING]
    rows = _by_row(thinking)
    first, gap = rows["first token p50, ms"], rows["wait p99, ms"]
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axis = figure.subplots()
    contenders = _contenders(rows)
    own = sorted(contenders[:-1], key=lambda name: float(gap[name]["median"]))
    medians = [(first[name]["median"], gap[name]["median"]) for name in own]
    axis.plot([x for x, _ in medians], [y for _, y in medians], color="#bbbbbb", zorder=0)
    for place, name in enumerate(contenders):
        axis.errorbar(
            [first[name]["median"]],
            [gap[name]["median"]],
            xerr=_whiskers([first[name]]),
            yerr=_whiskers([gap[name]]),
            marker="os^Dvp"[place % 6],
            linestyle="",
            capsize=2,
            color=_COLOURS[place % len(_COLOURS)],
            label=name,
        )
    axis.legend(frameon=False, fontsize=8)
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("first token, median, ms")
    axis.set_ylabel("between tokens, p99, ms")
    axis.set_title(thinking["title"])
    return figure


_SPECIAL: dict[str, Callable[[Sequence[Mapping[str, Any]]], Figure]] = {
    "longctx": _bytes,
    "fleet": _day,
}


def _bar(axis: Axes, place: int, row: Mapping[str, Any], colour: str) -> None:
    axis.bar([place], [row["median"]], yerr=_whiskers([row]), color=colour, capsize=3)


def _whiskers(rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """From the median down to the least and up to the greatest, as matplotlib wants them."""
    below = [row["median"] - row["low"] for row in rows]
    above = [row["high"] - row["median"] for row in rows]
    return below, above


def _by_row(comparison: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in comparison["rows"]:
        rows.setdefault(row[comparison["condition"]], {})[row["contender"]] = row
    return rows


def _contenders(rows: Mapping[str, Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(contender for measured in rows.values() for contender in measured))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: draw, print the files' names."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.charts", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("documents", nargs="+", type=Path, metavar="JSON")
    parser.add_argument("--into", type=Path, default=Path("bench/charts"), metavar="DIR")
    options = parser.parse_args(arguments)
    console, errors = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    try:
        options.into.mkdir(parents=True, exist_ok=True)
        for path in options.documents:
            for file in draw(json.loads(path.read_text()), options.into):
                console.print(str(file), highlight=False, markup=False)
    except (BenchError, OSError, json.JSONDecodeError) as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
