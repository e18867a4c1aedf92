"""Turns `embed` and `rerank` calls into checked tokens, on threads of its own.

A library of texts takes seconds to tokenize, and the mailbox thread has chats to take in meanwhile.
Order is kept between a request and its `Drop`: whichever comes second finds what the first left.
`fair_queue` decides whose turn it is. Owner: the embed threads, but for `take` and `drop`, which
are the mailbox thread's.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umad.clock import MonotonicClock
from umad.engine.embedding.answer import Answer
from umad.engine.embedding.cache import VectorCache
from umad.engine.embedding.facts import RANK, EmbedFacts
from umad.engine.embedding.lookup import TokenArray, look_up
from umad.engine.embedding.work import AnswerForm
from umad.engine.mail.fair_queue import FairQueue
from umad.engine.mail.step_mail import DropEmbed, EmbedArrival, StepMail
from umad.engine.prctl import name_thread
from umad.engine.vocab import Pairs, Vocabulary
from umad.errors import BadRequest, InternalError, PromptTooLong, UmadError, Unsupported
from umad.forgetting import ForgetScope
from umad.protocol.link import EngineCall, EngineReply
from umad.scheduler.embeds.queue import EmbedAdmission

log = logging.getLogger("umad.engine")

# Bytes of vectors in one answer. Clients take at most 16 MiB as one frame.
MOST_ANSWER_BYTES = 15 * 2**20
_FLOAT_BYTES = 4
# While one thread works on an app's library, the other answers another app's question.
N_THREADS = 2


class EmbedIntake:
    """Takes calls and puts `EmbedArrival`s, or answers the calls with an error."""

    def __init__(
        self,
        facts: EmbedFacts,
        vocab: Vocabulary,
        *,
        inbox: StepMail,
        reply: Callable[[EngineReply], None],
        hurry: Callable[[str, int], None],
        cache: VectorCache | None = None,
        most_tokens: int | None = None,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        """hurry: is told the lane and the tokens of work that has come. cache: vectors of earlier
        requests. most_tokens: the daemon's limit for one input.
        """
        self._facts = facts
        self._vocab = vocab
        self._inbox = inbox
        self._reply = reply
        self._hurry = hurry
        self._cache = cache or VectorCache(0)
        self._now_ns = now_ns or MonotonicClock().now_ns
        self._most_tokens = min(facts.most_tokens, most_tokens or facts.most_tokens)
        # Bounded by the number of calls that the daemon lets in.
        self._calls: FairQueue[EngineCall] = FairQueue()
        self._lock = threading.Lock()
        self._pending: set[int] = set()

    def start(self) -> None:
        """Begin to work."""
        for _ in range(N_THREADS):
            threading.Thread(target=self._run, name="umad-embed", daemon=True).start()

    def take(self, call: EngineCall) -> None:
        """Queue a call; returns at once."""
        with self._lock:
            self._pending.add(call.call)
        owner, app = str(call.args.get("owner", "")), str(call.args["app"])
        self._calls.put(call.call, call, owner=owner, app=app)

    def drop(self, call: int) -> None:
        """Forget a call: nobody waits for its answer any more."""
        with self._lock:
            if call in self._pending:
                self._pending.discard(call)
                self._calls.drop(call)
            else:
                self._inbox.put(DropEmbed(call=call))

    def forget(self, what: ForgetScope) -> None:
        """Let go of the vectors of an owner, or of all. A session has none of its own."""
        if what.session is None:
            self._cache.forget(what.owner)

    def spare(self, share: float) -> int:
        """Keep vectors in so much of their room. Returns the bytes given up."""
        return self._cache.spare(share)

    def _run(self) -> None:
        name_thread("umad-embed")
        while True:
            ticket = self._calls.take()
            began_ns = self._now_ns()
            try:
                if ticket.job.call in self._pending:
                    self._settle(ticket.job)
            finally:
                self._calls.done(ticket, (self._now_ns() - began_ns) // 1000)

    def _settle(self, call: EngineCall) -> None:
        try:
            arrival = self.arrival(call)
        except UmadError as error:
            self._refuse(call, error)
        except Exception:
            # One request's boundary: whatever goes wrong with it must not cost the others theirs.
            log.exception("texts cannot be taken call=%d", call.call)
            self._refuse(call, InternalError("the engine's log says why"))
        else:
            self._hand_over(arrival)

    def _hand_over(self, arrival: EmbedArrival) -> None:
        admission = arrival.admission
        with self._lock:
            if admission.call not in self._pending:
                return
            self._pending.discard(admission.call)
            if not arrival.answer.is_whole:
                self._inbox.put(arrival)
        if arrival.answer.is_whole:
            self._reply(arrival.answer.reply())
        else:
            self._hurry(admission.lane, sum([one.size for one in admission.inputs]))

    def _refuse(self, call: EngineCall, error: UmadError) -> None:
        with self._lock:
            self._pending.discard(call.call)
        self._reply(EngineReply(call=call.call, error=(error.code, error.message, error.field)))

    # -- one call -------------------------------------------------------------------------------

    def arrival(self, call: EngineCall) -> EmbedArrival:
        """Check and tokenize every input, and look up what is known of them. Raises the error that
        the client is told.
        """
        args = call.args
        inputs, form = self._pairs(args) if call.op == "rerank" else self._texts(args)
        owner = str(args.get("owner", ""))
        texts, to_compute = look_up(self._cache, owner, inputs)
        return EmbedArrival(
            answer=Answer(call.call, texts, form),
            admission=EmbedAdmission(
                call=call.call,
                lane=str(args["lane"]),
                app=str(args["app"]),
                inputs=to_compute,
                owner=owner,
            ),
        )

    def _texts(self, args: Mapping[str, Any]) -> tuple[list[TokenArray], AnswerForm]:
        facts = self._facts
        if facts.ranks:
            raise Unsupported(
                "this model is a reranker: it scores documents and has no vectors; "
                "ask it to rerank, or name another model",
                field="model",
            )
        width = args["dimensions"] or facts.width
        if width > facts.width:
            raise BadRequest(
                f"dimensions is {width} and this model's vectors have {facts.width}",
                field="dimensions",
            )
        first, total = _place(args, args["inputs"])
        answer_bytes = total * width * _FLOAT_BYTES
        if answer_bytes > MOST_ANSWER_BYTES:
            raise BadRequest(
                f"{total} vectors of {width} numbers are {answer_bytes} bytes and an "
                f"answer has at most {MOST_ANSWER_BYTES}: ask for fewer at once",
                field="input",
            )
        prefix, truncate = str(args.get("prefix", "")), bool(args["truncate"])
        inputs = [
            self._fitted(
                self._tokens(one, at, prefix, truncate=truncate), "input", at, truncate=truncate
            )
            for at, one in enumerate(args["inputs"], first)
        ]
        return inputs, AnswerForm(width=width, normalize=args["normalize"])

    def _tokens(
        self, one: str | tuple[int, ...], at: int, prefix: str, *, truncate: bool
    ) -> TokenArray:
        if not isinstance(one, str):
            try:
                return self._vocab.checked(one, field="input")
            except BadRequest as error:
                raise BadRequest(f"input {at}: {error.message}", field="input") from error
        one = prefix + one
        if not truncate:
            longer = ", split it, or ask for truncate"
            self._vocab.check_size(one, self._most_tokens, field="input", longer=longer)
        # Users write text: a control token in it would be foreign to the sentence.
        return self._vocab.tokenize(one, special=False, with_ends=True)

    def _pairs(self, args: Mapping[str, Any]) -> tuple[list[TokenArray], AnswerForm]:
        if not self._facts.ranks:
            raise Unsupported(
                f"this model is no reranker (its pooling is {self._facts.pooling}, not {RANK}): "
                "its scores would mean nothing; load a reranker, such as bge-reranker-v2-m3",
                field="model",
            )
        query = str(args["query"])
        self._vocab.check_size(query, self._most_tokens, field="query", longer="")
        pairs = self._vocab.pairs_with(query)
        # The query stands in every pair, so two thousand documents would multiply its length.
        if pairs.room(self._most_tokens) < 1:
            raise PromptTooLong(
                f"query has {self._vocab.plain(query).size} tokens and a pair at most "
                f"{self._most_tokens}: no document has room beside it",
                field="query",
            )
        truncate = bool(args["truncate"])
        first, _ = _place(args, args["documents"])
        inputs = [
            self._pair(pairs, document, at, truncate=truncate)
            for at, document in enumerate(args["documents"], first)
        ]
        return inputs, AnswerForm(width=1, normalize=False, ranks=True, top=args["top_n"])

    def _pair(self, pairs: Pairs, document: str, at: int, *, truncate: bool) -> TokenArray:
        """The tokens of a pair. Of one that is too long, the document's end is cut off: what comes
        behind it makes the model judge.
        """
        room = pairs.room(self._most_tokens)
        if not truncate:
            longer = ", split it, or ask for truncate"
            self._vocab.check_size(document, room, field="documents", longer=longer)
        tokens = self._vocab.plain(document)
        pair = pairs.of(tokens[:room] if truncate else tokens)
        return self._fitted(pair, "documents", at, truncate=False)

    def _fitted(self, tokens: TokenArray, field: str, at: int, *, truncate: bool) -> TokenArray:
        """Check the length of input number `at`. Raises where it is empty or too long."""
        if not tokens.size:
            raise BadRequest(f"{field} {at} has no tokens", field=field)
        most = self._most_tokens
        if tokens.size <= most:
            return tokens
        if not truncate:
            raise PromptTooLong(
                f"{field} {at} has {tokens.size} tokens and at most {most} are taken: split it, or "
                "ask for truncate",
                field=field,
            )
        # A copy: the rest may be a thousand times as long, and a view would keep it in memory.
        return self._vocab.truncated(tokens, most).copy()


def _place(args: Mapping[str, Any], texts: Sequence[object]) -> tuple[int, int]:
    """The number of the first of these texts in the client's request, and how many that has."""
    return int(args.get("first", 0)), int(args.get("total", len(texts)))
