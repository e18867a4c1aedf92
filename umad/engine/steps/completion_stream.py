"""Holds one completion inside the engine: its sampler, its text and its counts.

Not: how its tokens are drawn (`umad.engine.steps.token_drawing`). Owner: the step thread.
"""

from umad.chat.reader import ReplyReader
from umad.engine.constraints.thinking_limit import Mask
from umad.engine.logits.readers import LogitsReader
from umad.engine.steps.prompt_scorer import PromptScorer
from umad.errors import UmadError
from umad.sampling.detokenizer import Detokenizer
from umad.sampling.sampler import Sampler


class CompletionStream:
    """A completion: only what the engine needs for its next token and its text."""

    __slots__ = (
        "detokenizer",
        "eog",
        "error",
        "guarded",
        "mask",
        "n_generated",
        "n_prompt",
        "one_call",
        "opening",
        "reader",
        "rid",
        "sampler",
        "scorer",
        "text_decides",
    )

    def __init__(
        self,
        *,
        rid: int,
        sampler: Sampler,
        detokenizer: Detokenizer,
        eog: frozenset[int],
        n_prompt: int,
        n_generated: int,
        text_decides: bool,
        guarded: bool,
        opening: str = "",
        reader: LogitsReader | None = None,
        mask: Mask | None = None,
        scorer: PromptScorer | None = None,
        one_call: ReplyReader | None = None,
    ) -> None:
        self.rid = rid
        self.sampler = sampler
        self.detokenizer = detokenizer
        self.eog = eog
        self.n_prompt = n_prompt
        # Tokens drawn so far, those of an engine that died included. The number is the position of
        # the next draw, so a resumed stream draws the same random numbers it would have drawn.
        self.n_generated = n_generated
        # It has stop strings or `one_call`, so the step thread must make its text at once.
        self.text_decides = text_decides
        # The latency guard protects its lane. The books of background work need to know.
        self.guarded = guarded
        # The part of the answer that the chat template has begun. It stands before the first text.
        self.opening = opening
        # Set where its client reads its logits, and may choose its tokens; None for nearly all.
        self.reader = reader
        # The tokens that may be drawn, where the answer has to keep to a grammar, or its thinking
        # to a limit.
        self.mask = mask
        # Reads the text of an answer that ends with its first tool call; None for nearly all.
        self.one_call = one_call
        # Set where its client asks how probable the tokens of its prompt are.
        self.scorer = scorer
        # Set when its own logits or parameters made it fail.
        self.error: UmadError | None = None

    def text_of(self, token: int) -> str:
        """The text that `token` adds for certain. An end token adds none."""
        text = "" if token in self.eog else self.detokenizer.push(token).text
        if self.opening:
            text, self.opening = self.opening + text, ""
        return text

    def is_over(self, text: str) -> bool:
        """Whether the answer ends with `text`, its newest: by a stop string or by its only call."""
        if self.one_call is not None:
            self.one_call.push(text)
            if self.one_call.is_over:
                return True
        return self.detokenizer.stop is not None

    def last_text(self) -> str:
        """The text that was held back. Afterwards `detokenizer.stop` is final."""
        return self.detokenizer.flush()
