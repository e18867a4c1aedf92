"""Draws a few steps of a trace as SVG: a row for each thread, a block for each part.

Not: the trace itself (`bench.trace`). Pure.
"""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.trace import Track

_STEPS = 3
_WIDTH, _LEFT, _ROW, _TOP = 1000, 130, 46, 40
_FILLS = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b6992d", "#edc948", "#b07aa1", "#ff9da7"),
    *("#9c755f", "#d4e4ee", "#79706e", "#1f6f6f", "#d37295", "#499894", "#86bcb6", "#d7b5a6"),
)


def svg(tracks: Sequence["Track"], *, title: str) -> str:
    """A picture of the steps in the middle of the trace; parts inside others stand lower."""
    begins = sorted(
        span.began_ns for track in tracks for span in track.spans if span.part == "decode call"
    )
    middle = max(0, len(begins) // 2 - _STEPS)
    from_ns, to_ns = begins[middle], begins[min(len(begins) - 1, middle + _STEPS)]
    scale = (_WIDTH - _LEFT - 10) / (to_ns - from_ns)
    shown = [
        (track, [one for one in track.spans if one.ended_ns > from_ns and one.began_ns < to_ns])
        for track in tracks
    ]
    shown = [(track, spans) for track, spans in shown if spans]
    names = sorted({span.part for _, spans in shown for span in spans})
    fill = {name: _FILLS[at % len(_FILLS)] for at, name in enumerate(names)}
    blocks: list[str] = []
    for row, (track, spans) in enumerate(shown):
        top = _TOP + row * _ROW
        label = escape(f"{track.process}: {track.thread}")
        blocks.append(f'<text x="8" y="{top + 20}">{label}</text>')
        ends: list[int] = []
        for span in spans:
            while ends and ends[-1] <= span.began_ns:
                ends.pop()
            x = _LEFT + max(0.0, (span.began_ns - from_ns) * scale)
            width = max(0.6, min(_WIDTH - 10, _LEFT + (span.ended_ns - from_ns) * scale) - x)
            took = f"{span.part}: {(span.ended_ns - span.began_ns) / 1000:.0f} µs"
            blocks.append(
                f'<rect x="{x:.1f}" y="{top + 9 * len(ends)}" width="{width:.1f}" height="9" '
                f'fill="{fill[span.part]}"><title>{escape(took)}</title></rect>'
            )
            ends.append(span.ended_ns)
    foot = _TOP + len(shown) * _ROW + 10
    for at, name in enumerate(names):
        x, y = 8 + 165 * (at % 6), foot + 18 * (at // 6)
        blocks.append(f'<rect x="{x}" y="{y}" width="11" height="11" fill="{fill[name]}"/>')
        blocks.append(f'<text x="{x + 16}" y="{y + 10}">{escape(name)}</text>')
    height = foot + 18 * (1 + len(names) // 6) + 8
    span_ms = (to_ns - from_ns) / 1e6
    head = escape(f"{_STEPS} steps of {title}: {span_ms:.2f} ms")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="sans-serif" font-size="11">\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n'
        f'<text x="8" y="20" font-size="14">{head}</text>\n' + "\n".join(blocks) + "\n</svg>\n"
    )
