"""What `umad top` says, as text, whatever draws it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.cli.top_states import CAUSES, IDLE, MIXED, RESTARTING, STATES, card, felt, model, request
from umad.cli.top.figures import age, cut, figure, meter, percent, right, sparkline
from umad.cli.top.slowness import _WORDS, slowness_lines
from umad.cli.top.standing import Standing
from umad.metrics.slowness import CAUSES as COUNTED
from umad.metrics.slowness import NOTHING


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.0, "0"),
        (0.421, "0.42"),
        (8.13, "8.1"),
        (41, "41"),
        (142.4, "142"),
        (9_999, "9999"),
        (12_400, "12k"),
        (65_536, "66k"),
        (1_500_000, "1.5M"),
        (0.996, "1.0"),
        (99.96, "100"),
        (9_999.6, "10k"),
        (999_960, "1.0M"),
        (-3.2, "-3.2"),
    ],
)
def test_a_figure_has_about_three_digits_however_large(value: float | None, text: str) -> None:
    assert figure(value) == text


@given(
    st.text(st.characters(categories=("Ll", "Lu", "Lo", "Nd", "Po")), max_size=40),
    st.integers(0, 30),
)
def test_a_cell_is_exactly_as_wide_as_it_is_told_whatever_the_name(text: str, width: int) -> None:
    assert cell_len(cut(text, width)) == width
    assert cell_len(right(text, width)) == width


def test_what_is_cut_says_so() -> None:
    assert cut("nightly-index", 8) == "nightly~"
    assert cut("編集プログラム", 8) == "編集プ ~"
    assert cut("code", 8) == "code    "
    assert right("code", 8) == "    code"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0%"),
        (0.31, "0.3%"),
        (9.94, "9.9%"),
        (9.96, "10%"),
        (12.4, "12%"),
        (100.0, "100%"),
    ],
)
def test_a_share_takes_at_most_four_characters(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0s"),
        (4_200, "4s"),
        (59_700, "59s"),
        (61_000, "1m"),
        (119_900, "1m"),
        (7_200_000, "2h"),
        (200_000_000, "2d"),
    ],
)
def test_an_age_is_told_in_one_unit(ms: float, text: str) -> None:
    assert age(ms) == text


def test_a_meter_is_full_at_the_whole_and_a_little_is_not_nothing() -> None:
    assert meter(40, 80, 10) == "#####....."
    assert meter(1, 1000, 10) == "#........."
    assert meter(200, 100, 10) == "#" * 10
    assert meter(0, 100, 10) == "." * 10
    assert meter(None, 100, 10) == meter(5, None, 10) == meter(5, 0, 10) == "." * 10


def test_a_sparkline_is_full_at_three_times_alone_and_blank_where_nobody_read() -> None:
    drawn = sparkline([0.0, 20.0, 60.0, 500.0], 6, solo_ms=20.0)

    assert drawn == "   ▃██"
    assert sparkline([0.0, 20.0, 60.0], 3, solo_ms=20.0, plain=True) == " -@"
    assert sparkline([5.0, 10.0], 2, solo_ms=None) == "▄█", "the largest is the measure"
    assert sparkline([], 4, solo_ms=None) == "    "
    assert sparkline([0.01], 1, solo_ms=20.0) == "▁", "a short gap is seen"


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("width", [80, 93, 110, 200])
def test_every_row_is_as_wide_as_the_screen(state: str, width: int) -> None:
    standing = STATES[state]

    for line in standing.head(width):
        assert cell_len(line) == width
    for table in (standing.apps(width), standing.requests(width), standing.engines(width)):
        assert cell_len(table.heading) == width
        for row in table.lines:
            assert cell_len(row.text) == width


def test_an_idle_daemon_shows_its_models_and_nothing_that_runs() -> None:
    head = "\n".join(IDLE.head(80))

    assert "0 running, 0 waiting" in head
    assert "(nobody reads)" in head
    assert "KV .......... 0 of 66k" in head
    assert IDLE.apps(80).lines == IDLE.requests(80).lines == ()
    (engine,) = IDLE.engines(80).lines
    assert engine.text.split()[:2] == ["coder", "ready"]


def test_the_head_says_speed_latency_against_alone_traffic_and_memory() -> None:
    head = "\n".join(MIXED.head(80))

    assert "61.4 tok/s" in head
    assert "3 running, 2 waiting" in head
    assert "first token 142 ms (p95 391)" in head
    assert "p95 24.0 ms, alone 20.5 ms (x1.17)" in head
    assert "cap 1.2 HELD" in head
    assert "41.2 of 80.0 GB/s" in head
    assert "KV ##........ 12k of 66k" in head
    assert "parked 1" in head
    assert "cores lost 2.4%" in head
    assert "▃" in head


def test_apps_that_run_come_first_interactive_before_background() -> None:
    lines = MIXED.apps(80).lines

    assert [line.key for line in lines] == ["chat", "code", "nightly-index", "python3"]
    code = lines[1].text
    assert "interactive" in code
    assert "x1.17" in code
    assert "7.5%!" in code, "a broken promise has a sign, not only a colour"
    chat = lines[0].text
    assert "%!" not in chat


def test_an_app_in_two_lanes_names_both() -> None:
    standing = Standing(
        sessions=[request("r1", "x", "interactive"), request("r2", "x", "background")]
    )

    (row,) = standing.apps(120).lines

    assert "backg+inter" in row.text


def test_the_queue_says_why_each_waits_those_that_wait_first_the_oldest_before() -> None:
    lines = MIXED.requests(80).lines

    assert [line.key for line in lines] == ["r4", "r5", "r2", "r1", "r3"]
    assert "guard" in lines[0].text
    assert "behind an older reque" in lines[1].text
    assert lines[0].text.split()[-2:] == ["3m", "guard"]


def test_a_wide_screen_says_what_chose_each_lane() -> None:
    assert "CHOSEN BY" not in MIXED.requests(109).heading
    wide = MIXED.requests(120)

    assert "CHOSEN BY" in wide.heading
    assert "code: an editor" in next(one.text for one in wide.lines if one.key == "r1")


def test_an_engine_that_starts_again_says_so_and_how_often() -> None:
    (engine,) = RESTARTING.engines(80).lines
    (waiting,) = RESTARTING.requests(80).lines

    assert engine.text.split()[:5] == ["coder", "starting", "1", "1", "3"]
    assert "the engine is startin" in waiting.text


@pytest.mark.parametrize(
    ("wanted", "requests"),
    [
        ("", ["r4", "r5", "r2", "r1", "r3"]),
        ("NIGHTLY", ["r4", "r3"]),
        ("holiday", ["r2"]),
        ("background", ["r4", "r5", "r3"]),
        ("queued", ["r4", "r5"]),
        ("nobody", []),
    ],
)
def test_a_filter_is_about_app_lane_session_model_and_state(
    wanted: str, requests: list[str]
) -> None:
    assert [line.key for line in MIXED.requests(80, wanted=wanted).lines] == requests


def test_a_name_cannot_paint_the_terminal_nor_move_a_column() -> None:
    evil = "[red]\x1b[31m\nx"
    standing = Standing(
        models=[model(evil)],
        sessions=[request(evil, evil, evil, waits_for=evil, lane_by=evil)],
        card=card(apps={evil: felt()}),
    )

    for table in (standing.apps(120), standing.requests(120), standing.engines(120)):
        for line in table.lines:
            assert line.text.isprintable()
            assert cell_len(line.text) == 120
    assert all(line.isprintable() for line in slowness_lines(evil, standing.card, []))


def test_a_daemon_of_another_version_that_leaves_keys_out_is_shown_with_dashes() -> None:
    bare = Standing(
        models=[{"name": "m", "state": "ready"}],
        sessions=[{"request": "r1", "app": "a", "lane": "interactive", "state": "queued"}],
        card={"apps": {"a": {}}},
    )

    for width in (80, 120):
        assert all(bare.head(width))
        assert bare.apps(width).lines
        assert bare.requests(width).lines
        assert bare.engines(width).lines
    said = slowness_lines("a", {"apps": {"a": {"p95_ms": 1.0}}}, [])
    assert "older than this umad" in said[-1]


def test_every_lane_in_use_can_be_chosen_after_the_two_that_always_exist() -> None:
    standing = Standing(
        sessions=[request("r1", "x", "batch")], card=card(lanes={"nightly": felt()})
    )

    assert standing.lanes() == ("interactive", "background", "batch", "nightly")


# -- who slows me ----------------------------------------------------------------------------------


def test_who_slows_me_tells_each_cause_with_its_count_the_most_frequent_first() -> None:
    lines = slowness_lines("code", MIXED.card, MIXED.sessions)
    text = "\n".join(lines)

    assert "9 gaps were beyond the cap, 7.5 in a hundred" in text
    causes = [line for line in lines if line.startswith("  ")]
    assert causes[0].split("  ")[1] == "background work in the same step"
    assert causes[0].split()[-2:] == ["6", "#############......."]
    assert causes[1].split()[-2] == "4"
    assert len(causes) == len(CAUSES)
    assert "Most often: the guard already holds it within the cap" in text
    assert text.endswith(
        "Running now beside it: nightly-index (background), python3 (background), "
        "chat (interactive)."
    )


def test_an_app_that_nothing_slows_is_told_so() -> None:
    assert slowness_lines("chat", MIXED.card, MIXED.sessions)[-1] == "Nothing slows it."


def test_background_work_has_no_cap_and_so_nobody_slows_it() -> None:
    text = "\n".join(slowness_lines("nightly-index", MIXED.card, MIXED.sessions))

    assert "its work is background work" in text


def test_an_app_without_tokens_is_told_so() -> None:
    assert slowness_lines("python3", MIXED.card, [])[-1] == "python3 had no token in that time."


def test_every_cause_that_the_scorecard_counts_has_words_and_advice() -> None:
    assert tuple(_WORDS) == (*COUNTED, NOTHING)
    assert all(words and advice for words, advice in _WORDS.values())
