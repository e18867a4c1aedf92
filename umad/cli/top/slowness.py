"""Says in words what an app's late gaps coincided with: "who slows me". Pure.

The daemon counts (`umad.metrics.slowness`). A gap may have coincided with several things, and to
coincide is not to cause; the words say so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from umad.cli.printed import printable
from umad.cli.top.figures import cut, figure, meter, right
from umad.request import INTERACTIVE

# Of each cause: its words, and what to do about it.
_WORDS: Mapping[str, tuple[str, str]] = {
    "background": (
        "background work in the same step",
        "the guard already holds it within the cap; a lower latency_cap leaves it less",
    ),
    "prompt": (
        "a neighbour's prompt was read",
        "prompts of interactive apps are read in slices; scheduler.slice_ms makes them shorter",
    ),
    "copy": (
        "cells were copied to or from memory",
        "the pool is short: a larger ctx_size, or fewer apps at once, parks less",
    ),
    "embedding": (
        "texts were embedded",
        "let the app that embeds ask in lane background",
    ),
    "cores": (
        "other programs had the cores",
        "umad cannot hold them back; end them, or give umad fewer threads than there are cores",
    ),
    "other_model": (
        "another model computed",
        "models share one device; unload the one that is not needed",
    ),
    "restart": (
        "the engine was started again",
        "the daemon's log says why it ended; umad doctor looks for the usual reasons",
    ),
    "nothing": (
        "nothing that umad knows of",
        "the machine was late: heat, swapping, a virtual machine's host; umad doctor looks at it",
    ),
}
_WORDS_CHARS = 38
_BAR_CHARS = 20


def slowness_lines(
    app: str, card: Mapping[str, Any], sessions: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The page about one app."""
    felt: Mapping[str, Any] = card.get("apps", {}).get(app, {})
    counts: Mapping[str, int] | None = felt.get("slowed_by")
    head = f"Who slows {printable(app)}?  The last {float(card.get('window_s') or 0):.0f} s."
    if counts is None:
        if not felt:
            return [head, "", f"{printable(app)} had no token in that time."]
        return [head, "", "This daemon does not tell: it is older than this umad. Restart it."]
    n_late = int(felt.get("gaps_over_cap") or 0)
    waits = (
        f"p95 {figure(felt.get('p95_ms'))} ms, alone {figure(felt.get('solo_ms'))} ms, longest "
        f"{figure(felt.get('max_ms'))} ms; cap {figure(felt.get('latency_cap'))} times alone."
    )
    lines = [head, "", waits]
    if felt.get("over_cap_pct") is None:
        return [
            *lines,
            "",
            "No gap of it was measured against a cap: its work is background work, or it has",
            "had one token only. Nobody is held back for it, so nobody is said to slow it.",
        ]
    lines.append(
        f"{n_late} {'gap was' if n_late == 1 else 'gaps were'} beyond the cap, "
        f"{figure(felt.get('over_cap_pct'))} in a hundred (five may be)."
    )
    lines.append("")
    if not n_late:
        return [*lines, "Nothing slows it."]
    lines.append("They coincided with (one gap may with several):")
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    for cause, n in ordered:
        words, _ = _WORDS.get(cause, (cause, ""))
        bar = meter(n, n_late, _BAR_CHARS)
        lines.append(f"  {cut(words, _WORDS_CHARS)} {right(str(n), 5)} {bar}")
    advice = _WORDS.get(ordered[0][0], ("", ""))[1]
    if advice:
        lines += ["", f"Most often: {advice}."]
    others = _others(app, sessions)
    if others:
        lines += ["", f"Running now beside it: {', '.join(others)}."]
    return lines


def _others(app: str, sessions: Sequence[Mapping[str, Any]]) -> list[str]:
    """The other apps that have requests, with their lanes; background ones first."""
    found = {
        (row.get("lane") == INTERACTIVE, str(row.get("app")), str(row.get("lane")))
        for row in sessions
        if row.get("app") != app
    }
    return [f"{printable(name)} ({printable(lane)})" for _, name, lane in sorted(found)]
