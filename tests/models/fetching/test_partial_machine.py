"""A file fetched in any order, by processes that are killed and on machines that lose power."""

import hashlib
import tempfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from typing_extensions import override

from tests.models.fetching.conftest import random_bytes
from umad.models.fetching import partial
from umad.models.fetching.checksum import Checksum
from umad.models.fetching.partial import PartialFile

DATA = random_bytes(100)
PIECE = 16
N_PIECES = -(-len(DATA) // PIECE)


class Fetched(RuleBasedStateMachine):
    """The file, and beside it what must be there of each piece."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.final = Path(self.folder.name) / "whole"
        self.boot_s = 1_000_000
        self.written = [0] * N_PIECES
        self.on_disk = [0] * N_PIECES
        self.file = self.opened()

    def opened(self) -> PartialFile:
        with patch.object(partial, "boot_s", return_value=self.boot_s):
            return PartialFile.open(
                self.final,
                checksum=Checksum(kind="sha256", digits=hashlib.sha256(DATA).hexdigest()),
                size_bytes=len(DATA),
                piece_bytes=PIECE,
                file="model.gguf",
            )

    @rule(piece=st.integers(0, N_PIECES - 1), n_bytes=st.integers(1, PIECE))
    def a_range_brings_some_bytes(self, piece: int, n_bytes: int) -> None:
        at, end = self.file.gap(piece)
        data = DATA[at : min(at + n_bytes, end)]
        self.file.write(at, data)
        self.written[piece] += len(data)

    @rule(upto=st.integers(1, len(DATA)))
    def a_server_without_ranges_sends_it_from_the_first_byte(self, upto: int) -> None:
        self.file.write(0, DATA[:upto])
        for piece in range(N_PIECES):
            here = min(max(upto - piece * PIECE, 0), PIECE)
            self.written[piece] = max(self.written[piece], here)

    @rule()
    def the_disk_takes_it(self) -> None:
        self.file.settle()
        self.on_disk = list(self.written)

    @rule()
    def the_process_is_killed(self) -> None:
        self.file.close()
        self.file = self.opened()

    @rule()
    def the_machine_loses_power(self) -> None:
        self.file.close()
        self.boot_s += 1000
        self.written = list(self.on_disk)
        self.file = self.opened()
        # The next process takes these for its own.
        self.on_disk = list(self.written)

    @invariant()
    def exactly_what_came_is_believed(self) -> None:
        gaps = [self.file.gap(piece)[0] - piece * PIECE for piece in range(N_PIECES)]
        assert gaps == self.written
        assert self.file.done_bytes == sum(self.written)

    @invariant()
    def what_is_believed_is_there(self) -> None:
        for piece, n_bytes in enumerate(self.written):
            at = piece * PIECE
            assert self.file.read(at, n_bytes) == DATA[at : at + n_bytes]
        frontier = self.file.frontier()
        assert self.file.read(0, frontier)[:frontier] == DATA[:frontier]
        assert frontier == len(DATA) or self.written[frontier // PIECE] == frontier % PIECE

    @override
    def teardown(self) -> None:
        self.file.close()
        self.folder.cleanup()


TestFetched = Fetched.TestCase
TestFetched.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
