"""Draws `umad top` in three recorded states (`top_states`), and its page about slowness, for tests.

The pictures of the documentation are those of a daemon: `tests/cli/top_on_a_daemon.py`.
"""

import asyncio
import re
from pathlib import Path

from tests.cli.top_states import STATES, FakeDaemon
from umad.cli.top.screen import TopScreen

# The fonts that rich names lie at somebody's address; a viewer has a font of equal widths itself.
_ADDRESSES = re.compile(r"@font-face\s*\{.*?\}\s*|<!--.*?-->\s*", re.DOTALL)


def picture_of(screen: TopScreen) -> str:
    """The screen as SVG, without addresses."""
    return without_addresses(screen.export_screenshot(title="umad top"))


def without_addresses(svg: str) -> str:
    """A picture of rich, without the places of fonts."""
    return _ADDRESSES.sub("", svg)


async def _draw(state: str, *keys: str) -> str:
    standing = STATES[state]
    screen = TopScreen(FakeDaemon(standing), standing, every_s=3600)
    async with screen.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()
        return picture_of(screen)


def draw_all(folder: Path) -> list[Path]:
    """Write the pictures; returns their files, sorted by name."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, tuple[str, tuple[str, ...]]] = {
        f"top-{state}": (state, ()) for state in STATES
    }
    wanted |= {"top-who-slows-me": ("mixed", ("down", "s"))}
    drawn = []
    for name, (state, keys) in wanted.items():
        path = folder / f"{name}.svg"
        path.write_text(asyncio.run(_draw(state, *keys)), encoding="utf-8")
        drawn.append(path)
    return sorted(drawn)
