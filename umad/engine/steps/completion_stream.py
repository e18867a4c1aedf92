"""One completion inside the engine: what samples it, what makes its text, what it has so far.

Owner: the step thread.
"""

from umad.engine.constraints.answer_mask import AnswerMask
from umad.engine.logits.readers import LogitsReader
from umad.errors import UmadError
from umad.sampling.detokenizer import Detokenizer
from umad.sampling.sampler import Sampler


class CompletionStream:
    """A completion. Only what the engine needs for its next token and its text.

    n_generated: tokens drawn so far, those of a dead engine included: the position of the next
    draw. So a resumed stream draws the very random numbers it would have drawn.
    text_decides: it has stop strings, so its text is made on the step thread.
    guarded: its lane is protected by the latency guard (for the books of background work).
    opening: what the template has begun of the answer; stands before its first text.
    reader: its client reads its logits, and may choose its tokens; None for nearly all.
    mask: which tokens may be drawn, where the answer has to keep to a grammar.
    error: set when its own logits or parameters failed it.
    """

    __slots__ = (
        "detokenizer",
        "eog",
        "error",
        "guarded",
        "mask",
        "n_generated",
        "n_prompt",
        "opening",
        "reader",
        "rid",
        "sampler",
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
        mask: AnswerMask | None = None,
    ) -> None:
        self.rid = rid
        self.sampler = sampler
        self.detokenizer = detokenizer
        self.eog = eog
        self.n_prompt = n_prompt
        self.n_generated = n_generated
        self.text_decides = text_decides
        self.guarded = guarded
        self.opening = opening
        self.reader = reader
        self.mask = mask
        self.error: UmadError | None = None

    def text_of(self, token: int) -> str:
        """What `token` adds to the text for certain. An end token is no text."""
        text = "" if token in self.eog else self.detokenizer.push(token).text
        if self.opening:
            text, self.opening = self.opening + text, ""
        return text

    def last_text(self) -> str:
        """What was held back; afterwards `detokenizer.stop` is final."""
        return self.detokenizer.flush()
