"""A draft's context that keeps its cells as lists, and a language in which the next token follows
from every token before it. So a cell that is missing or wrong gives another guess."""

from collections.abc import Sequence

from umad.engine.drafts.drafter import DraftFailed, DraftRows

N_VOCAB = 50


def following(text: Sequence[int]) -> int:
    """The token that the draft takes for the likeliest."""
    return (
        (sum((at + 1) * token for at, token in enumerate(text)) * 2654435761 + 1) % 4999 % N_VOCAB
    )


def guessed(text: Sequence[int], n: int) -> tuple[int, ...]:
    """The next tokens as the draft takes them to be."""
    tokens = list(text)
    for _ in range(n):
        tokens.append(following(tokens))
    return tuple(tokens[len(text) :])


class FakePool:
    def __init__(self, *, n_seqs: int = 4, n_cells: int = 200, batch_tokens: int = 32) -> None:
        self.n_vocab = N_VOCAB
        self.n_seqs = n_seqs
        self.n_cells = n_cells
        self.batch_tokens = batch_tokens
        self.cells: list[list[int]] = [[] for _ in range(n_seqs)]
        # Rows of each decode.
        self.decodes: list[int] = []
        self.fails = False

    def decode(self, rows: Sequence[DraftRows]) -> list[int]:
        if self.fails:
            raise DraftFailed("llama_decode returned -3: no reason")
        found = []
        self.decodes.append(sum(row.tokens.size for row in rows))
        assert 0 < self.decodes[-1] <= self.batch_tokens
        assert len({row.seq for row in rows}) == len(rows)
        for row in rows:
            held = self.cells[row.seq]
            assert len(held) == row.start, "a position was left out, or computed twice"
            held += row.tokens.tolist()
            if row.guesses:
                found.append(following(held))
        assert sum(map(len, self.cells)) <= self.n_cells
        return found

    def trim(self, seq: int, keep: int) -> None:
        del self.cells[seq][keep:]

    def copy(self, source: int, target: int, n: int) -> None:
        assert not self.cells[target]
        assert n <= len(self.cells[source])
        self.cells[target] = self.cells[source][:n]

    def clear(self) -> None:
        for one in self.cells:
            one.clear()
