"""The page engines share: who sits where, and that another process sees what is written."""

import subprocess
import sys
from pathlib import Path

from umad.config import Settings
from umad.daemon.bandwidth import Budget
from umad.daemon.device_board import DeviceBoard
from umad.daemon.launcher import engine_launcher
from umad.daemon.names import ModelFile
from umad.engine.board.page import SEATS
from umad.engine.board.seat import BoardSeat
from umad.engine.launch import EngineOptions

NOW = 10**12


def test_every_model_has_a_seat_of_its_own_and_keeps_it() -> None:
    with DeviceBoard() as board:
        seats = [board.seat(name) for name in ("a", "b", "a", "c", "b")]

    assert seats == [0, 1, 0, 2, 1]


def test_an_engine_that_is_started_again_finds_its_seat_wiped() -> None:
    with DeviceBoard() as board:
        one = BoardSeat.opened(board.fd, board.seat("one"))
        two = BoardSeat.opened(board.fd, board.seat("two"))
        two.arrived(NOW)
        two.standing(3, NOW)
        before = one.others(NOW).interactive

        board.seat("two")

        assert before
        assert not one.others(NOW).interactive


def test_past_the_last_seat_the_model_that_started_longest_ago_moves_over() -> None:
    with DeviceBoard() as board:
        for number in range(SEATS):
            board.seat(f"model {number}")
        board.seat("model 0")

        assert board.seat("one more") == 1


def test_what_another_process_writes_is_seen_here() -> None:
    with DeviceBoard() as board:
        ours = BoardSeat.opened(board.fd, board.seat("ours"))
        theirs = board.seat("theirs")
        ours.others(NOW)
        script = (
            "from umad.engine.board.seat import BoardSeat\n"
            f"seat = BoardSeat.opened({board.fd}, {theirs})\n"
            f"seat.standing(1, {NOW}); seat.stepped(12345, {NOW}, background=False)\n"
        )

        subprocess.run([sys.executable, "-c", script], pass_fds=(board.fd,), check=True)

        seen = ours.others(NOW)
        assert (seen.interactive, seen.interactive_bytes) == (True, 12345)


def test_an_engines_command_line_carries_the_budget_and_its_seat(tmp_path: Path) -> None:
    with DeviceBoard() as board:
        board.seat("another")
        launch = engine_launcher(Settings(), budget=Budget(gbps=12.5, measured=False), board=board)

        line = launch(ModelFile(name="m", path=tmp_path / "m.gguf"), 7)

        options = EngineOptions.from_json(line[line.index("--options") + 1])
        assert (options.budget_bytes_per_s, options.budget_measured) == (12.5e9, False)
        assert (options.board_fd, options.board_seat) == (board.fd, 1)
