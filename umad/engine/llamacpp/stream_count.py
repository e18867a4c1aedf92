"""Decides how many streams a model gets: as many as were asked for, or as memory has room for.

A stream of most models costs nothing but the cells it uses. A stream of a model with recurrent
layers has a state of its own, allocated from the start, used or not: 157 MB in a model of 27B.
Where layers look back over a window, and their cells are apart from the pool, a stream has a window
of its own: 436 MB in Gemma 3 27B, 4.7 MB in gpt-oss 120B. So where no number is asked for, the size
of these decides.

There are never so many that their windows would take as many cells as the pool has. Then nothing
would be saved, and a stream could not be sure of a window. On a CPU there are no more than eight
once their windows take more than a quarter of it, and no more than four beyond half: a long text
alone comes to fill the windows of all streams, and each step then passes over cells that no token
looks at any more. A GPU passes over whole blocks of those at once. Not: what a state or a window
takes (`context_memory`), or whether all of it fits (`fitting`). Pure.
"""

import logging

from umad.engine.llamacpp.window_cache import WindowCache
from umad.units import BYTES_PER_MB

log = logging.getLogger("umad.engine")


MOST_STREAMS = 64
# With fewer streams, users would wait for one another without need. So many are given while memory
# lasts.
FEW_STREAMS = 4
# The share of the machine's memory for states of streams that may never come; parking gets as much.
STATE_SHARE = 0.1
# The most cells that the windows of more than eight streams take, as a share of the pool's, and
# those of five to eight.
WINDOW_SHARE = 0.25
AT_ONCE = 8
AT_ONCE_SHARE = 0.5


def most_share(count: int) -> float:
    """The most cells that the windows of so many streams may take on a CPU, as a share of the
    pool's."""
    if count > AT_ONCE:
        return WINDOW_SHARE
    return AT_ONCE_SHARE if count > FEW_STREAMS else 1.0


def stream_count(
    asked: int | None,
    *,
    seq_bytes: int,
    n_scratch: int,
    left_bytes: int,
    machine_bytes: int,
    windows: WindowCache | None = None,
    passes_cells: bool = False,
) -> int:
    """The streams for a model: `asked`, if any; else as many as memory has room for, at least one.

    seq_bytes: the bytes each keeps, used or not. n_scratch: sequences that no request uses and that
    keep as much. left_bytes: memory that weights and cells leave. windows: cells that are apart
    from the pool's. passes_cells: a step takes longer for cells that no token looks at.
    """

    def most(room_bytes: int) -> int:
        """The most streams whose states and windows have room in so many bytes."""
        for count in range(MOST_STREAMS, 0, -1):
            n_seqs = count + n_scratch
            window_bytes = 0
            if windows is not None:
                if windows.is_whole(n_seqs):
                    continue
                if passes_cells and windows.share(n_seqs) > most_share(count):
                    continue
                window_bytes = windows.bytes(n_seqs)
            if n_seqs * seq_bytes + window_bytes <= room_bytes:
                return count
        return 0

    each_bytes = seq_bytes + (0 if windows is None else windows.seq_bytes)
    if asked is not None or not each_bytes:
        return asked or MOST_STREAMS
    in_share = most(int(STATE_SHARE * machine_bytes))
    count = max(1, min(most(left_bytes), max(in_share, FEW_STREAMS)))
    if count < MOST_STREAMS:
        log.info(
            "streams=%d of %d: each keeps %.1f MB, used or not; with max_seqs you choose",
            count,
            MOST_STREAMS,
            each_bytes / BYTES_PER_MB,
        )
    return count
