"""Turns text into token ids and back, for one model.

Any thread: llama.cpp's vocabulary is constant after load (its tokenizers keep their working state
on the caller's stack), and the cache below is only ever filled with equal values.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.engine.chats.plain_text import PlainText, TextPart
from umad.engine.known_pieces import KnownPieces
from umad.engine.process import let_others_first
from umad.engine.tokens import TokenTable
from umad.errors import BadRequest, PromptTooLong

_NO_BOUND = 0
# Tokenizing so much takes a few milliseconds of a core (nano: 35 ms for 64 KB of prose, 111 for one
# letter repeated). Longer texts leave the cores to streams that run.
_AT_ONCE_BYTES = 8 * 2**10
# A text of so many characters is tokenized in less time than a look at every token takes. That is a
# second of this process for the 262,144 tokens of Gemma 3.
SHORT_CHARS = 64 * 2**10
_LOW_THREADS = 2
# The tokens of a long text up to this size are remembered until the next long text.
_KEPT_BYTES = 4 * 2**20
_BLANKS = " \n\t\r\v\f"
# How to have longer texts, in errors where nothing else bounds them.
_LONGER = " or serve with a larger --ctx-size"
# The bytes that UTF-8 texts consist of.
_BYTES_OF_TEXT = frozenset(range(0xF5)) - {0xC0, 0xC1}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """What stands around a document in each pair with one query, int32 (n,) both."""

    before: NDArray[np.int32]
    after: NDArray[np.int32]

    def room(self, most_tokens: int) -> int:
        """The most tokens of a document in a pair of `most_tokens`."""
        return most_tokens - self.before.size - self.after.size

    def of(self, document: NDArray[np.int32]) -> NDArray[np.int32]:
        """The tokens of one pair."""
        return np.concatenate([self.before, document, self.after])


class Vocabulary:
    """The tokens of a model."""

    def __init__(self, model: TokenTable, *, short_chars: int = SHORT_CHARS) -> None:
        """short_chars: shorter texts are tokenized, whatever their size proves."""
        self._model = model
        self._short_chars = short_chars
        self.n_vocab = model.n_vocab
        # The tokens that end a generation.
        self.eog = model.eog_tokens()
        self.adds_bos = model.adds_bos
        self.bos_text = self._text_of(model.bos)
        self.eos_text = self._text_of(model.eos)
        controls = sorted(model.control_tokens())
        self._control_of = {self._text_of(token): token for token in reversed(controls)}
        self._is_control = np.zeros(model.n_vocab, np.bool_)
        self._is_control[controls] = True
        self._plain = PlainText(self._control_of)
        self.guard = self._plain.guard
        self._known = KnownPieces(
            tokenize=lambda text, with_ends: self.tokenize(text, special=True, with_ends=with_ends),
            controls_in=self._plain.controls_in,
            control_of=self._control_of,
        )
        self._marked: dict[int, bytes] = {}
        self._low = ThreadPoolExecutor(
            _LOW_THREADS, thread_name_prefix="umad-tokens", initializer=let_others_first
        )
        # The last long text, because the completions of a request have the same prompt. The map is
        # replaced, never changed.
        self._long_before: dict[tuple[bytes, bool, bool], NDArray[np.int32]] = {}
        # Computed with the first long text, because a look at every token takes a while.
        self._longest: int | None = None
        self._drops_blanks = False
        self._pieces: list[bytes | None] = [None] * model.n_vocab

    def check_size(self, text: str, most_tokens: int, *, field: str, longer: str = _LONGER) -> None:
        """Raise `PromptTooLong` for a text whose size alone proves that it has more than
        `most_tokens` tokens. Such a text need not be tokenized. Cheap. longer: the end of the
        error, which says how to have longer texts.
        """
        # Too short to prove anything by its size, or sooner tokenized than proved.
        if len(text) <= max(most_tokens, self._short_chars):
            return
        longest = self._longest_bytes()
        if longest is None:
            return
        n_bytes = len(text)  # each character has at least one byte
        if self._drops_blanks:
            # In some models, blanks beside control tokens are no text.
            n_bytes -= sum(text.count(blank) for blank in _BLANKS)
        if n_bytes > longest * most_tokens:
            raise PromptTooLong(
                f"{field} has {len(text)} characters, which are more than the {most_tokens} tokens "
                f"that are taken: shorten it{longer}",
                field=field,
            )

    def _longest_bytes(self) -> int | None:
        """The most bytes of a text that one token stands for. None where that has no bound, because
        a token may stand for an unknown word, or bytes for no token.
        """
        if self._longest is None:
            model, longest, bytes_known = self._model, 0, set()
            for token in range(self.n_vocab):
                piece = model.piece(token, special=True)
                longest = max(longest, len(piece))
                if len(piece) == 1:
                    bytes_known.add(piece[0])
            self._drops_blanks = model.drops_blanks
            covers = model.covers_all_bytes and bytes_known >= _BYTES_OF_TEXT
            self._longest = longest if covers else _NO_BOUND
        return None if self._longest == _NO_BOUND else self._longest

    def tokenize(self, text: str, *, special: bool, with_ends: bool) -> NDArray[np.int32]:
        """Token ids, int32 (n,). special: recognise control tokens in the text. with_ends: add the
        beginning (and for a few models the end) that the model wants around a text.
        """
        raw = text.encode("utf-8", "surrogatepass")
        if len(raw) <= _AT_ONCE_BYTES:
            return self._model.tokenize(raw, add_special=with_ends, parse_special=special)
        key = (raw, special, with_ends)
        tokens = self._long_before.get(key)
        if tokens is None:
            # It takes a core for as long as a step or more, with the interpreter's lock released.
            work = self._low.submit(
                self._model.tokenize, raw, add_special=with_ends, parse_special=special
            )
            tokens = work.result()
            tokens.flags.writeable = False
            if len(raw) <= _KEPT_BYTES:
                self._long_before = {key: tokens}
        return tokens

    def tokenize_rendered(self, text: str, *, is_first: bool = True) -> NDArray[np.int32]:
        """Token ids of a rendered chat, int32 (n,). Text that the template wrote may hold control
        tokens; a string that was `guard`ed may not. The ends that the model wants are added unless
        they are there, or the text goes on behind an image or a sound. is_first: it does not.
        """
        # Most templates write the beginning token themselves. A second one would spoil the answer.
        begun = not is_first or (bool(self.bos_text) and text.startswith(self.bos_text))
        parts = list(self._plain.parts(text))
        return np.concatenate(
            [np.empty(0, np.int32)]
            + [
                self._rendered_part(part, with_ends=at == 0 and not begun)
                for at, part in enumerate(parts)
            ]
        )

    def _rendered_part(self, part: TextPart, *, with_ends: bool) -> NDArray[np.int32]:
        # What was guarded has control tokens that count as text, so it is never cut.
        if not part.special:
            return self.tokenize(part.text, special=False, with_ends=with_ends)
        return self._known.tokens(part.text, with_ends=with_ends)

    def unguarded(self, text: str) -> str:
        """A rendered chat as people read it. Where the model puts its beginning token before every
        text, the text is without it, so that it is not there twice when it comes back as a prompt.
        """
        plain = self.unguarded_part(text)
        return plain.removeprefix(self.bos_text) if self.adds_bos else plain

    def unguarded_part(self, text: str) -> str:
        """A part of a rendered chat, as it is tokenized."""
        return self._plain.unguarded(text)

    def controls_in(self, rendered: str) -> list[tuple[int, int, int]]:
        """The control tokens that the template wrote into a rendered chat: the position of its
        first character, that behind its last one, and the token.
        """
        spans = self._plain.controls_in(rendered)
        return [(start, end, self._control_of[rendered[start:end]]) for start, end in spans]

    def control_places(self, ids: NDArray[np.int32]) -> NDArray[np.intp]:
        """The places of control tokens in `ids`, ascending."""
        return np.flatnonzero(self._is_control[ids])

    def without_bos(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """`ids` without a beginning token at its head."""
        begins = ids.size > 0 and int(ids[0]) == self._model.bos >= 0
        return ids[1:] if begins else ids

    def truncated(self, tokens: NDArray[np.int32], most: int) -> NDArray[np.int32]:
        """The first `most` tokens. The end that the model wants behind a text stays at the end."""
        if not self._model.adds_eos and not self._model.adds_sep:
            return tokens[:most]
        return np.concatenate([tokens[: most - 1], tokens[-1:]])

    def pairs_with(self, query: str) -> "Pairs":
        """What stands around each document in a pair with `query`, for a reranking model. It uses
        the template of the name "rerank" where the file has one. Else it puts the model's marks
        around both, as llama-server does (`format_prompt_rerank` of its server-common.cpp).
        """
        model = self._model
        template = model.chat_template("rerank")
        if template is not None:
            head, _, tail = template.partition("{document}")
            return Pairs(
                before=np.concatenate(self._around(head, query)),
                after=np.concatenate(self._around(tail, query)),
            )
        eos = model.eos if model.eos >= 0 else model.sep
        bos = [model.bos] if model.adds_bos else []
        closed = [eos] if model.adds_eos else []
        between = closed + ([model.sep] if model.adds_sep else [])
        marks = np.array(bos, np.int32), np.array(between, np.int32)
        before = np.concatenate([marks[0], self.plain(query), marks[1]])
        return Pairs(before=before, after=np.array(closed, np.int32))

    def _around(self, template: str, query: str) -> list[NDArray[np.int32]]:
        """Tokens of a part of a template with the query in its place. Control tokens of the
        template count as such; those in the query are text.
        """
        before, marker, after = template.partition("{query}")
        parts = [self.tokenize(before, special=True, with_ends=False)]
        if marker:
            parts.append(self.plain(query))
            parts.append(self.tokenize(after, special=True, with_ends=False))
        return parts

    def plain(self, text: str) -> NDArray[np.int32]:
        """Tokens of a text alone: without the model's ends, and with no control token."""
        return self.tokenize(text, special=False, with_ends=False)

    def checked(self, ids: Iterable[int], *, field: str = "prompt_ids") -> NDArray[np.int32]:
        """The ids as int32 (n,). Raises `BadRequest` for an id that the model does not have. field:
        the request's field that they came in.
        """
        try:
            wide = np.fromiter(ids, np.int64)
        except (OverflowError, TypeError, ValueError) as error:
            raise BadRequest("token ids are integers", field=field) from error
        if wide.size and not (wide.min() >= 0 and wide.max() < self.n_vocab):
            bad = int(wide[(wide < 0) | (wide >= self.n_vocab)][0])
            raise BadRequest(f"token {bad} is not one of this model's {self.n_vocab}", field=field)
        return wide.astype(np.int32)

    def piece(self, token: int) -> bytes:
        """The bytes that a generated token stands for; a control token has none."""
        piece = self._pieces[token]
        if piece is None:
            piece = self._pieces[token] = self._model.piece(token, special=False)
        return piece

    def marked_piece(self, token: int) -> bytes:
        """Bytes of a token as in `piece`, but control tokens are written out. For texts that are
        split at control tokens.
        """
        piece = self._marked.get(token)
        if piece is None:
            piece = self._marked[token] = self._model.piece(token, special=True)
        return piece

    def text(self, ids: Iterable[int]) -> str:
        """The text of `ids`. Control tokens are written out, so `tokenize` gives the ids again."""
        return b"".join(self.pieces(ids)).decode("utf-8", "replace")

    def pieces(self, ids: Iterable[int]) -> list[bytes]:
        """The bytes of each of `ids`. Control tokens are written out."""
        tokens = self.checked(ids, field="ids").tolist()
        return [self._model.piece(token, special=True) for token in tokens]

    def _text_of(self, token: int) -> str:
        if token < 0:
            return ""
        return self._model.piece(token, special=True).decode("utf-8", "replace")
