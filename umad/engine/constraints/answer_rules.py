"""Makes the mask that a request's answer must keep to, from its constraint or its forced call.

A model's thinking before the answer stays free. Owner: the thread that takes the request in; where
a grammar is compiled, a thread of `umad.engine.mail.long_intake`. An `AnswerRules` never
changes, so several threads may use it at once.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from umad.chat.formats import ChatFormat
from umad.chat.grammars import call_grammar
from umad.constraint import MAX_GRAMMAR_CHARS, Constraint
from umad.conversation import ChatOptions, Tool
from umad.engine.chats.chat_template import Rendered
from umad.engine.constraints.answer_mask import MASK_S, AnswerMask, MaskMaker, Phase, too_complex
from umad.engine.constraints.distinct_items import (
    UNIQUE,
    DistinctItems,
    PieceTable,
    has_distinct_items,
)
from umad.engine.constraints.guidance import Grammar, Guidance
from umad.engine.constraints.plain_schema import plain_schema
from umad.engine.constraints.thinking_limit import ThinkingLimit, ThinkingMarks
from umad.engine.vocab import Vocabulary
from umad.errors import BadRequest
from umad.units import NS_PER_S

_ANY_OBJECT = {"type": "object"}
_HARMONY_THINKING = b"<|channel|>analysis<|message|>"
_HARMONY_ANSWER = b"<|channel|>final<|message|>"


class AnswerRules:
    """Makes the masks of one model's answers."""

    def __init__(
        self,
        guidance: Guidance,
        vocab: Vocabulary,
        format_: ChatFormat,
        *,
        now_ns: Callable[[], int],
    ) -> None:
        self._now_ns = now_ns
        self._guidance = guidance
        self._vocab = vocab
        self._format = format_
        self._maker = MaskMaker()
        # Made once somebody needs it.
        self._pieces: PieceTable | None = None

    def limit(
        self,
        options: ChatOptions,
        rendered: Rendered | None,
        mask: AnswerMask | None,
        resumed: Sequence[int],
    ) -> AnswerMask | ThinkingLimit | None:
        """`mask`, behind the limit on the thinking where the request has one and the model thinks.
        It begins after the tokens in `resumed`.
        """
        most = options.thinking_tokens
        if most is None or rendered is None or not rendered.may_think:
            return mask
        # Whether tools may be called matters only where a forced end chooses what comes next.
        tools = bool(options.tools) and options.tool_choice != "none"
        marks = self._marks(tools=tools, is_constrained=mask is not None)
        if marks is None:
            return mask
        limit = ThinkingLimit(
            marks,
            most_tokens=most,
            opened=bool(rendered.opened),
            piece_of=self._vocab.marked_piece,
            n_vocab=self._vocab.n_vocab,
            after=mask,
        )
        limit.start(resumed)
        return limit

    def _marks(self, *, tools: bool, is_constrained: bool) -> ThinkingMarks | None:
        if self._format.family == "harmony":
            begin = "<|channel|>" if tools else "<|channel|>final<|message|>"
            return ThinkingMarks(
                opening=_HARMONY_THINKING,
                closing=b"<|end|>",
                end=self._ids(f"<|end|><|start|>assistant{begin}"),
                instead=self._ids(begin),
                then=(self._ids("final")[0], self._ids("commentary")[0]) if tools else (),
                again=True,
            )
        if self._format.thinking is None:
            return None
        opening, closing = self._format.thinking
        return ThinkingMarks(
            opening=opening.encode(),
            closing=closing.encode(),
            end=self._ids(self._format.thinking_end(is_constrained=is_constrained)),
            again=self._format.thinks_again,
        )

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._vocab.tokenize(text, special=True, with_ends=False).tolist())

    def mask(
        self,
        constraint: Constraint | None,
        options: ChatOptions,
        rendered: Rendered | None,
        resumed: Sequence[int],
    ) -> AnswerMask | None:
        """Make the mask of an answer; None where the answer is free. The mask begins after the
        tokens in `resumed`. Raises `BadRequest` at once for a constraint that cannot be compiled.
        """
        grammar = self._grammar(constraint, options)
        if grammar is None:
            return None
        distinct = self._distinct(constraint, options)
        opening, closing, phase = self._thinking(rendered, forces_call=options.forces_call)
        mask = AnswerMask(
            grammar,
            self._maker,
            piece_of=self._vocab.marked_piece,
            phase=phase,
            opening=opening,
            closing=closing,
            distinct=distinct,
        )
        if not resumed:
            self._check_pace(grammar)
        mask.start(resumed)
        return mask

    def _distinct(
        self, constraint: Constraint | None, options: ChatOptions
    ) -> DistinctItems | None:
        """What keeps the items of the answer's arrays apart; None where nothing has to."""
        offered = bool(options.tools) and options.tool_choice != "none"
        if constraint is None or constraint.kind != "json_schema" or offered:
            return None
        if UNIQUE not in constraint.text:
            return None
        schema = plain_schema(json.loads(constraint.text))
        if not has_distinct_items(schema):
            return None
        if self._pieces is None:
            # Several threads may make it at once; all make the same.
            self._pieces = PieceTable(self._guidance.n_vocab, self._vocab.marked_piece)
        return DistinctItems(schema, self._pieces)

    def _check_pace(self, grammar: Grammar) -> None:
        """Refuse a grammar that would make every step wait, before its first step."""
        began_ns = self._now_ns()
        grammar.allowed()
        if self._now_ns() - began_ns > MASK_S * NS_PER_S:
            raise too_complex(grammar.field, MASK_S)

    def _grammar(self, constraint: Constraint | None, options: ChatOptions) -> Grammar | None:
        tools = options.tools
        if options.tool_name is not None:
            tools = tuple(tool for tool in tools if tool.name == options.tool_name)
        if options.forces_call:
            tools = self._enforceable(options.tools, tools)
            several = options.tool_name is None and options.parallel_tool_calls
            text = call_grammar(self._format, tools, self._mark, several=several)
            return self._guidance.compiled_lark(text, "tools")
        if constraint is None:
            return None
        grammar = self._guidance.compiled(constraint)
        offered = bool(tools) and options.tool_choice != "none"
        # The schemas true and false are no maps, and constrain nothing beside tools.
        is_map = constraint.kind == "json_schema" and constraint.text.lstrip().startswith("{")
        if not is_map or not offered:
            return grammar
        either = call_grammar(
            self._format,
            self._enforceable(tools, tools),
            self._mark,
            several=options.parallel_tool_calls,
            or_schema=self._guidance.enforceable(constraint.text, constraint.field),
        )
        return self._guidance.compiled_lark(either, "tools")

    def _enforceable(
        self, all_tools: tuple[Tool, ...], tools: tuple[Tool, ...]
    ) -> tuple[Tool, ...]:
        """The tools with schemas that can be enforced. A tool whose schema cannot be takes any
        object, so that it does not break the others. Raises `BadRequest` for one that is strict.
        """
        schemas = [json.dumps(tool.parameters, ensure_ascii=False) for tool in tools]
        n_chars = sum([len(schema) for schema in schemas])
        if n_chars > MAX_GRAMMAR_CHARS:
            raise BadRequest(
                f"the parameters of all tools have {n_chars} characters together, and a "
                f"grammar can be made of at most {MAX_GRAMMAR_CHARS}",
                field="tools",
            )
        found: list[Tool] = []
        for tool, schema in zip(tools, schemas, strict=True):
            place = f"tools[{all_tools.index(tool)}].parameters"
            try:
                parameters = json.loads(self._guidance.enforceable(schema, place))
            except BadRequest:
                if tool.strict:
                    raise
                parameters = _ANY_OBJECT
            found.append(replace(tool, parameters=parameters))
        return tuple(found)

    def _mark(self, text: str) -> str:
        """Write `text` as a control token where the model has one for it, else as text."""
        ids = self._vocab.tokenize(text, special=True, with_ends=False)
        if ids.size == 1 and not self._vocab.piece(int(ids[0])):
            return f"<[{int(ids[0])}]>"
        return json.dumps(text, ensure_ascii=False)

    def _thinking(
        self, rendered: Rendered | None, *, forces_call: bool
    ) -> tuple[int | None, bytes, Phase]:
        """The (opening token, closing bytes, phase) of an answer to this prompt."""
        if rendered is None or not rendered.may_think:
            return None, b"", Phase.ANSWER
        if self._format.family == "harmony":
            # The grammar of a forced call already contains the thinking.
            phase = Phase.ANSWER if forces_call else Phase.THINKING
            return None, _HARMONY_ANSWER, phase
        if self._format.thinking is None:
            return None, b"", Phase.ANSWER
        opening, closing = self._format.thinking
        end = (closing + self._format.answer_opening).encode()
        if rendered.opened:
            return None, end, Phase.THINKING
        ids = self._vocab.tokenize(opening, special=True, with_ends=False)
        # A model that has no token of its own for the mark, or for its beginning, thinks only where
        # the prompt opened it.
        is_token = ids.size == 1 or self._vocab.marked_piece(int(ids[0])).endswith((b">", b"]"))
        return int(ids[0]) if is_token else None, end, Phase.BEFORE
