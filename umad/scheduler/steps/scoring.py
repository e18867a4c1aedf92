"""Bounds the rows of a step whose logits tell how probable a prompt's tokens are.

Such a row costs more than another row of a prompt: the output layer is computed for it, and its
logits are copied and summed up, on the step thread. So beside running streams a slice with them has
half the rows that it would have without, and a step has at most `most_rows` of them.

Pure; owner: the step thread.
"""

from collections.abc import Sequence
from dataclasses import replace

from umad.step import PrefillSlice

# The output layer of a small model with a large vocabulary has about as many weights as its other
# layers together.
COST = 2
# The logits of one step's scored rows have at most so many bytes. Summing up a row of 152k logits
# takes a quarter of a millisecond: 7 ms for 27 rows.
MOST_BYTES = 16 * 2**20
_LOGIT_BYTES = 4


def most_scored_rows(n_vocab: int, max_seqs: int) -> int:
    """The most scored rows of one step. llama.cpp makes room for the logits of `max_seqs` rows."""
    return max(1, min(max_seqs, MOST_BYTES // (_LOGIT_BYTES * n_vocab)))


def with_bounded_scores(
    slices: Sequence[PrefillSlice], *, n_decode: int, most_rows: int, max_seqs: int
) -> list[PrefillSlice]:
    """`slices` with the scored ones last, and made shorter where they are too long. Those for which
    no row is left wait for another step.
    """
    plain = [piece for piece in slices if not piece.scores]
    room = max(1, min(most_rows, max_seqs - n_decode - len(plain)))
    share = COST if n_decode else 1  # alone, a longer step hurts nobody
    bounded: list[PrefillSlice] = []
    for piece in slices:
        if not piece.scores:
            continue
        n = min(-(-piece.n_tokens // share), room)
        if n <= 0:
            break
        room -= n
        bounded.append(
            piece
            if n == piece.n_tokens
            else replace(piece, tokens=piece.tokens[:n], wants_logits=False)
        )
    return [*plain, *bounded]
