"""Decides how many streams a model gets: as many as were asked for, or as memory has room for.

A stream of most models costs nothing but the cells it uses. A stream of a model with recurrent
layers has a state of its own, allocated from the start, used or not: 157 MB in a model of 27B. So
where no number is asked for, the size of the states decides. Not: what a state takes
(`context_memory`), or whether all of it fits (`fitting`). Pure.
"""

import logging

from umad.units import BYTES_PER_MB

log = logging.getLogger("umad.engine")


MOST_STREAMS = 64
# With fewer streams, users would wait for one another without need. So many are given while memory
# lasts.
FEW_STREAMS = 4
# The share of the machine's memory for states of streams that may never come; parking gets as much.
STATE_SHARE = 0.1


def stream_count(
    asked: int | None, *, seq_bytes: int, n_scratch: int, left_bytes: int, machine_bytes: int
) -> int:
    """The streams for a model: `asked`, if any; else as many as memory has room for, at least one.

    seq_bytes: the bytes each keeps, used or not. n_scratch: sequences that no request uses and that
    keep as much. left_bytes: memory that weights and cells leave.
    """
    if asked is not None or not seq_bytes:
        return asked or MOST_STREAMS
    in_all = left_bytes // seq_bytes - n_scratch
    in_share = int(STATE_SHARE * machine_bytes) // seq_bytes - n_scratch
    count = max(1, min(MOST_STREAMS, in_all, max(in_share, FEW_STREAMS)))
    if count < MOST_STREAMS:
        log.info(
            "streams=%d of %d: each keeps %.1f MB, used or not; with max_seqs you choose",
            count,
            MOST_STREAMS,
            seq_bytes / BYTES_PER_MB,
        )
    return count
