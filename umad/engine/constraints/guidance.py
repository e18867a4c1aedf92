"""Compiles grammars for one model's tokens with llguidance. The only module that imports it.

Building its tokenizer blocks the interpreter: for a second with 152k tokens. So the engine builds
it once, before it says that it is ready.
https://github.com/guidance-ai/llguidance. Any thread.
"""

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, grammar_from

from umad.chat.lark import COMPACT
from umad.constraint import Constraint
from umad.engine.constraints.distinct_items import without_distinct_items
from umad.engine.constraints.plain_schema import plain_schema
from umad.engine.constraints.schema_bounds import flaw_of_multiples, flaw_of_schemas
from umad.engine.constraints.schema_fault import MAX_LOOKS, fault_path
from umad.engine.tokens import TokenTable
from umad.errors import BadRequest, Unsupported
from umad.sampling.allowed import WORD_BITS, Allowed

log = logging.getLogger("umad.engine")

# The most that a hostile grammar may cost: some seconds of one core to compile. 60,000 values of an
# enum need less; 1.5 KB of rules that double each other's length burnt 5,000,000 in 15 s.
_LIMITS = LLParserLimits(
    initial_lexer_fuel=1_000_000, step_lexer_fuel=200_000, step_max_items=50_000
)
_MOST_REASON_CHARS = 400
# So many compiled grammars are kept for later requests. Each takes some megabytes at most.
MOST_KEPT = 4
# Parts of a schema are compiled to find its fault, up to so many characters in all.
_COMPILED_CHARS = 2 * 2**20
# llguidance appends this mark and its internal state, for its own authors.
_STATE = "<state>"
_NO_ANSWER = "NoExtensionBias"


class Guidance:
    """Compiles grammars for one model."""

    def __init__(self, model: TokenTable) -> None:
        self.n_vocab = model.n_vocab
        self.eog = model.eog_tokens()
        self._model = model
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._flaw_of_vocab: str | None = None
        # Matchers at their beginning. The one used longest ago stands first.
        self._compiled_before: OrderedDict[tuple[str, str], LLMatcher] = OrderedDict()

    def prepare(self) -> None:
        """Build the tokenizer, unless it is built. A vocabulary that cannot be constrained does not
        end the engine: requests that ask for a constraint are refused.
        """
        try:
            self._tokens()
        except Unsupported as error:
            log.warning("no constraints: %s", error.message)

    def enforceable(self, schema: str, field: str, *, distinct: bool = False) -> str:
        """A JSON schema in the compiler's words. Raises `BadRequest` naming the faulty place of one
        that cannot be enforced. distinct: somebody else keeps the items of arrays apart.
        """
        too_much = flaw_of_multiples(schema)
        if too_much:
            raise _refusal(too_much, field)
        try:
            plain = plain_schema(json.loads(schema))
            plain = without_distinct_items(plain) if distinct else plain
            text = json.dumps(plain, ensure_ascii=False)
        except RecursionError as error:
            raise _refusal("it is nested too deep", field) from error
        reason = self._flaw(text)
        if reason:
            path = fault_path(
                plain,
                reason,
                lambda one: self._flaw(json.dumps(one)),
                max_looks=min(MAX_LOOKS, _COMPILED_CHARS // len(text)),
            )
            raise _refusal(reason, f"{field}.{path}" if path else field)
        return text

    def compiled(self, constraint: Constraint) -> "Grammar":
        """Compile a grammar, at its beginning. Raises `BadRequest` naming the field and the reason.

        The completions of one request, and the next request with the same grammar, share the
        result.
        """
        key = (constraint.kind, constraint.text)
        matcher = self._known(key)
        if matcher is not None:
            return self._begun(matcher, constraint.field)
        grammar = self._compiled(constraint)
        self._keep(key, grammar.copied())
        return grammar

    def _known(self, key: tuple[str, str]) -> LLMatcher | None:
        with self._lock:
            found = self._compiled_before.get(key)
            if found is None:
                return None
            self._compiled_before.move_to_end(key)
            return found.deep_copy()

    def _keep(self, key: tuple[str, str], matcher: LLMatcher) -> None:
        with self._lock:
            self._compiled_before[key] = matcher
            if len(self._compiled_before) > MOST_KEPT:
                self._compiled_before.popitem(last=False)

    def _compiled(self, constraint: Constraint) -> "Grammar":
        if constraint.kind == "json_schema":
            text = self.enforceable(constraint.text, constraint.field, distinct=True)
            return self._grammar(_schema_grammar(text), constraint.field)
        too_much = flaw_of_schemas(constraint.text) if constraint.kind == "lark" else ""
        if too_much:
            raise _refusal(too_much, constraint.field)
        try:
            text = grammar_from(constraint.kind, constraint.text)
        except ValueError as error:
            raise _refusal(str(error), constraint.field) from error
        return self._grammar(text, constraint.field)

    def compiled_lark(self, text: str, field: str) -> "Grammar":
        """Compile a grammar that umad wrote itself. field: the request's field it
        was written for.
        """
        key = ("calls", text)
        matcher = self._known(key)
        if matcher is not None:
            return self._begun(matcher, field)
        grammar = self._grammar(LLMatcher.grammar_from_lark(text), field)
        self._keep(key, grammar.copied())
        return grammar

    def _grammar(self, text: str, field: str) -> "Grammar":
        matcher = LLMatcher(self._tokens(), text, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise _refusal(matcher.get_error(), field)
        return self._begun(matcher, field)

    def _begun(self, matcher: LLMatcher, field: str) -> "Grammar":
        return Grammar(matcher, n_vocab=self.n_vocab, eog=self.eog, field=field)

    def _flaw(self, schema: str) -> str:
        try:
            text = _schema_grammar(schema)
        except ValueError as error:
            return str(error)
        return LLMatcher.validate_grammar(text, self._tokens(), limits=_LIMITS)

    def _tokens(self) -> LLTokenizer:
        with self._lock:
            if self._flaw_of_vocab is None and self._tokenizer is None:
                try:
                    self._tokenizer = self._model.guidance_tokenizer(
                        LLTokenizer.from_llamacpp  # type: ignore[attr-defined]
                    )
                except ValueError as error:
                    self._flaw_of_vocab = str(error)
            if self._tokenizer is None:
                raise Unsupported(
                    f"this model's vocabulary cannot be constrained: {self._flaw_of_vocab}",
                    field="json_schema",
                )
            return self._tokenizer


class Grammar:
    """The place of one answer in its grammar. Only one thread at a time."""

    def __init__(
        self, matcher: LLMatcher, *, n_vocab: int, eog: frozenset[int], field: str
    ) -> None:
        self.field = field
        self._matcher = matcher
        self._n_vocab = n_vocab
        self._eog = eog
        self._end = Allowed.only(np.array(sorted(eog), np.intp), n_vocab)
        self._words = np.zeros((n_vocab + WORD_BITS - 1) // WORD_BITS, np.int32)
        # The last two masks that differ: within a text the next mask is mostly the same as the
        # last.
        self._last: tuple[Allowed, ...] = ()

    def copied(self) -> LLMatcher:
        """Copy the matcher; the copy stands at the same place and moves independently."""
        return self._matcher.deep_copy()

    def consume(self, tokens: Iterable[int]) -> None:
        """Move on past `tokens`. Raises `BadRequest` where the grammar has become too complex."""
        inner = [token for token in tokens if token not in self._eog]
        if inner and not self._matcher.consume_tokens(inner):
            raise self._broken()

    def allowed(self, besides: int | None = None) -> Allowed:
        """The tokens that may come next, with the ends of generation where the answer may end.
        besides: one token more.

        Releases the interpreter for nearly all of its time.
        """
        matcher = self._matcher
        if matcher.is_stopped() and not matcher.is_error():
            return self._end
        matcher.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)
        if matcher.is_error():
            raise self._broken()
        if besides is not None:
            self._words.view(np.uint32)[besides // WORD_BITS] |= np.uint32(1 << besides % WORD_BITS)
        for one in self._last:
            if one.is_of(self._words):
                return one
        made = Allowed(self._words.copy(), self._n_vocab)
        self._last = (made, *self._last[:1])
        return made

    def forced(self) -> tuple[int, ...]:
        """The tokens that alone may come next, in order; () where there is a choice, or where the
        answer is at its end. Changes nothing: its masks allow the same tokens one by one.
        """
        matcher = self._matcher
        if matcher.is_stopped():
            return ()
        tokens = matcher.compute_ff_tokens()
        if matcher.is_error():
            raise self._broken()
        ends = [at for at, token in enumerate(tokens) if token in self._eog]
        return tuple(tokens[: ends[0]] if ends else tokens)

    def after(self, token: int) -> Allowed:
        """The tokens that may come after `token`, which is not consumed."""
        ahead = Grammar(
            self._matcher.deep_copy(), n_vocab=self._n_vocab, eog=self._eog, field=self.field
        )
        ahead.consume((token,))
        return ahead.allowed()

    def _broken(self) -> BadRequest:
        return _refusal(self._matcher.get_error(), self.field)


def _schema_grammar(schema: str) -> str:
    return LLMatcher.grammar_from_json_schema(schema, defaults=cast(Any, COMPACT))


def _refusal(reason: str, field: str) -> BadRequest:
    whole = " ".join(reason.partition(_STATE)[0].split())
    if whole.startswith(_NO_ANSWER):
        whole = "no text at all fits it"
    return BadRequest(
        f"{field} cannot be compiled: {whole[:_MOST_REASON_CHARS] or 'no reason given'}",
        field=field,
    )
