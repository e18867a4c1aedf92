"""`umad top` on a screen: what is seen, and what keys do. Drawn by Textual without a terminal."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from html import unescape
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.cli.top_pictures import draw_all, picture_of
from tests.cli.top_states import IDLE, MIXED, STATES, FakeDaemon, request
from umad.cli.top.screen import ENGINES, MOST_ROWS, REQUESTS, Rows, TopScreen
from umad.cli.top.standing import Standing
from umad.errors import NoDaemon

Check = Callable[[Pilot[None], TopScreen, FakeDaemon], Awaitable[None]]


def on_screen(
    test: Check,
    standing: Standing = MIXED,
    *,
    size: tuple[int, int] = (80, 24),
    plain: bool = False,
) -> None:
    """Run `test` on a screen that looks at the daemon only when it is told to."""

    async def run() -> None:
        daemon = FakeDaemon(standing)
        screen = TopScreen(daemon, standing, every_s=3600, plain=plain)
        async with screen.run_test(size=size) as pilot:
            await pilot.pause()
            await test(pilot, screen, daemon)

    asyncio.run(asyncio.wait_for(run(), 60))


def text_of(screen: TopScreen) -> list[str]:
    """The lines of the screen, as they are seen."""
    drawn = picture_of(screen)
    rows: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in re.findall(
        r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', drawn
    ):
        rows.setdefault(float(y), []).append((float(x), unescape(text).replace("\xa0", " ")))
    return ["".join(text for _, text in sorted(rows[y])) for y in sorted(rows)]


def seen(screen: TopScreen) -> str:
    return "\n".join(text_of(screen))


@pytest.mark.parametrize("state", STATES)
def test_each_state_fits_eighty_by_twenty_four(state: str) -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        shown = seen(screen)

        for heading in ("APP", "REQUEST", "ENGINE", "tok/s", "BMT", "gaps |"):
            assert heading in shown
        assert "Who slows me" in shown, "the keys are told"
        assert "coder" in shown

    on_screen(test, STATES[state])


def test_a_mixed_load_is_seen_at_a_glance() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        shown = seen(screen)

        assert "nightly-index" in shown
        assert "7.5%!" in shown
        assert "behind an older" in shown
        assert "▃" in shown

    on_screen(test)


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 50), (40, 12), (20, 5)])
def test_any_size_is_drawn_without_an_error(size: tuple[int, int]) -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        assert seen(screen)
        await pilot.press("s")
        await pilot.resize_terminal(90, 20)
        await pilot.pause()
        assert seen(screen)

    on_screen(test, size=size)


def test_a_terminal_without_blocks_gets_a_sparkline_of_ascii() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        assert not any(
            ord(one) > 127 for line in screen.standing.head(80, plain=True) for one in line
        )
        assert "▃" not in seen(screen)

    on_screen(test, plain=True)


def test_nothing_is_told_by_colour_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        assert screen.no_color
        await pilot.press("tab")
        assert "7.5%!" in seen(screen)
        # The row that keys act on is in reverse, which is no colour.
        table = screen.query_one(f"#{REQUESTS}", Rows)
        style = table.get_component_styles("datatable--cursor").text_style
        assert style.reverse

    on_screen(test)


def test_s_says_who_slows_the_chosen_app_and_escape_goes_back() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("down", "s")  # from chat to code
        await pilot.pause()
        page = seen(screen)
        await pilot.press("escape")
        await pilot.pause()

        assert "Who slows code?" in page
        assert "background work in the same step" in page
        assert "APP" in seen(screen)

    on_screen(test)


def test_s_on_a_request_is_about_its_app() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("tab", "down", "down", "down", "s")
        await pilot.pause()

        assert "Who slows code?" in seen(screen)

    on_screen(test)


def test_a_request_is_cancelled_only_after_yes() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("tab", "c")
        await pilot.pause()
        assert "Cancel r4 of nightly-index?" in seen(screen)
        await pilot.press("n", "escape")
        await pilot.pause()
        left = list(daemon.told)
        await pilot.press("c", "y")
        await pilot.pause()

        assert left == []
        assert daemon.told == [("cancel", "r4")]
        assert "r4 is cancelled" in seen(screen)

    on_screen(test)


def test_a_request_that_ended_meanwhile_is_an_error_in_a_line_and_nothing_ends() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("tab", "c")
        await pilot.pause()
        daemon.standing = IDLE
        await pilot.press("y")
        await pilot.pause()

        assert "no live request is called r4" in seen(screen)

    on_screen(test)


def test_a_lane_is_chosen_by_its_number() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("tab", "l")
        await pilot.pause()
        question = seen(screen)
        await pilot.press("1")
        await pilot.pause()

        assert "Which lane for r4?" in question
        assert "1  interactive" in question
        assert "2  background" in question
        assert daemon.told == [("lane", "r4", "interactive")]

    on_screen(test)


def test_a_lane_for_an_app_moves_all_its_requests() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("down", "down", "l", "1")  # nightly-index
        await pilot.pause()

        assert daemon.told == [("lane", "r3", "interactive"), ("lane", "r4", "interactive")]

    on_screen(test)


def test_of_an_apps_requests_those_that_have_not_ended_meanwhile_are_moved() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("down", "down", "l")  # nightly-index: r3 and r4
        await pilot.pause()
        left = [row for row in MIXED.sessions if row["request"] != "r3"]
        daemon.standing = Standing(models=MIXED.models, sessions=left, card=MIXED.card)
        await pilot.press("1")
        await pilot.pause()
        moved = list(daemon.told)
        await pilot.press("l")
        await pilot.pause()
        daemon.standing = IDLE
        await pilot.press("1")
        await pilot.pause()

        assert moved == daemon.told == [("lane", "r4", "interactive")]
        assert "no live request is called r4" in seen(screen), "there was none to move"

    on_screen(test)


def test_a_table_that_is_longer_than_anybody_scrolls_says_so() -> None:
    many = [request(f"r{n}", "crowd", "background", age_ms=float(n)) for n in range(MOST_ROWS + 7)]

    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("tab", "end", "c")
        await pilot.pause()

        assert "and 7 more; / shows those with a text in them" in seen(screen)
        assert "c ends a request: choose one" in seen(screen), "the last line is no request"

    on_screen(test, Standing(models=MIXED.models, sessions=many, card=MIXED.card))


def test_unloading_says_how_many_requests_would_fail() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("tab", "tab", "u")
        await pilot.pause()
        assert "Unload coder? 5 requests run or wait on it" in seen(screen)
        await pilot.press("y")
        await pilot.pause()

        assert daemon.told == [("unload", "coder")]
        assert screen.query_one(f"#{ENGINES}", Rows).has_focus

    on_screen(test)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("c",), "c ends a request"),
        (("u",), "u unloads a model"),
        (("tab", "tab", "l"), "l moves a request"),
        (("tab", "tab", "s"), "choose an app"),
    ],
)
def test_a_key_that_fits_no_chosen_row_says_what_to_choose(
    keys: tuple[str, ...], said: str
) -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press(*keys)
        await pilot.pause()

        assert said in seen(screen)
        assert daemon.told == []

    on_screen(test)


def test_a_filter_shows_what_has_the_text_and_escape_shows_all() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("slash", *"night", "enter")
        await pilot.pause()
        filtered = seen(screen)
        await pilot.press("escape")
        await pilot.pause()

        assert "nightly-index" in filtered
        assert "chat" not in filtered
        assert "esc shows all" in filtered
        assert "chat" in seen(screen)

    on_screen(test)


def test_letters_typed_into_the_filter_are_no_orders() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("slash", *"scluq")
        await pilot.pause()

        assert screen.is_running
        assert daemon.told == []
        assert "scluq" in seen(screen)

    on_screen(test)


def test_the_cursor_stays_on_its_request_while_others_come_and_go() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("tab", "down")
        await pilot.pause()
        table = screen.query_one(f"#{REQUESTS}", Rows)
        before = table.chosen
        gone = [row for row in MIXED.sessions if row["request"] != "r4"]
        daemon.standing = Standing(models=MIXED.models, sessions=gone, card=MIXED.card)
        await screen.look_once()
        await pilot.pause()
        kept = table.chosen
        daemon.standing = Standing(models=MIXED.models, sessions=gone[:1], card=MIXED.card)
        await screen.look_once()
        await pilot.pause()

        assert before == kept == "r5"
        assert table.chosen == "r1", "its row is gone, so the cursor is on one that is there"

    on_screen(test)


def test_a_daemon_that_goes_leaves_its_figures_says_so_and_is_found_again() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        daemon.fails = NoDaemon("no daemon listens on the socket; start one: umad serve")
        await screen.look_once()
        await pilot.pause()
        lost = seen(screen)
        daemon.fails = None
        daemon.standing = STATES["restarting"]
        await screen.look_once()
        await pilot.pause()
        found = seen(screen)

        assert "no daemon listens" in lost
        assert "nightly-index" in lost
        assert "no daemon listens" not in found
        assert "starting" in found

    on_screen(test)


def test_the_page_about_slowness_is_drawn_anew_with_each_look() -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press("down", "s")
        daemon.standing = STATES["restarting"]
        await screen.look_once()
        await pilot.pause()

        assert "1 gap was beyond the cap" in seen(screen)
        assert "the engine was started again" in seen(screen)

    on_screen(test)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_q_and_ctrl_c_end_it(key: str) -> None:
    async def test(pilot: Pilot[None], screen: TopScreen, daemon: FakeDaemon) -> None:
        await pilot.press(key)

        assert screen.return_code == 0, "it has one once it is told to end"

    on_screen(test)


def test_every_recorded_state_can_be_drawn_as_a_picture(tmp_path: Path) -> None:
    drawn = draw_all(tmp_path)

    assert [path.name for path in drawn] == [
        "top-idle.svg",
        "top-mixed.svg",
        "top-restarting.svg",
        "top-who-slows-me.svg",
    ]
    for path in drawn:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("<svg")
        assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), "no address of anybody"
