"""Describes one request for a generation: its sampling parameters and its place in the machine.

Values only, checked once where they enter (`protocol.messages`, `cli`); after that everybody may
trust them. Pure: no clock, no I/O, no numpy.
"""

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from umad.adapters import AdapterChoice, check_adapters
from umad.constraint import Constraint
from umad.content import MAX_FILES, PlacedFile, check_media
from umad.conversation import ChatMessage as ChatMessage
from umad.conversation import ChatOptions
from umad.errors import BadRequest

FinishReason = Literal["stop", "length", "cancelled", "error"]
LogitsUse = Literal["read", "choose"]
LOGITS_USES: tuple[LogitsUse, ...] = ("read", "choose")
INTERACTIVE = "interactive"
BACKGROUND = "background"

MAX_STOPS = 32
MAX_STOP_CHARS = 512
MAX_N = 16
MAX_LOGPROBS = 20
MAX_LOGIT_BIAS = 4096
MAX_TOKEN_ID = 2**31 - 1  # llama_token is an int32
SEED_BITS = 64
MAX_FINGERPRINT_CHARS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """The parameters for drawing tokens.

    `temperature == 0` is greedy and ignores every cut. As in llama.cpp, top_k is off at 0, top_p
    and typical_p are off at 1.0, and min_p is off at 0.0.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    # Divides or multiplies a logit (CTRL, arXiv 1909.05858).
    repetition_penalty: float = 1.0
    # Frequency and presence penalties are subtracted (OpenAI's definition).
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    # The number of last tokens that the repetition penalty looks at.
    penalty_last_n: int = 64
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    max_tokens: int | None = None
    # `max_tokens` is only a ceiling (None: there is none). Where the daemon's limit or the context
    # leaves room for fewer tokens, generate as many as that. Agents ask for more than local models
    # have.
    fit: bool = False
    stop: tuple[str, ...] = ()
    # The number of alternatives reported beside each token's own; None reports none.
    logprobs: int | None = None
    # The same for the tokens of the prompt, which are then computed anew, whatever is kept of them.
    prompt_logprobs: int | None = None
    ignore_eos: bool = False

    def check(self) -> None:
        """Raise `BadRequest` naming the first field that is out of range."""
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, float) and not math.isfinite(value):
                raise BadRequest(f"{name} must be a finite number, got {value}", field=name)
            if not low <= value <= high:
                raise BadRequest(f"{name} must be between {low} and {high}", field=name)
        if len(self.stop) > MAX_STOPS:
            raise BadRequest(f"at most {MAX_STOPS} stop strings", field="stop")
        for text in self.stop:
            if not 0 < len(text) <= MAX_STOP_CHARS:
                raise BadRequest(
                    f"a stop string has 1 to {MAX_STOP_CHARS} characters", field="stop"
                )
        if len(self.logit_bias) > MAX_LOGIT_BIAS:
            raise BadRequest(f"at most {MAX_LOGIT_BIAS} biased tokens", field="logit_bias")
        for token, bias in self.logit_bias:
            if token < 0 or math.isnan(bias):
                raise BadRequest("logit_bias maps token ids to numbers", field="logit_bias")


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, 100),
    ("top_k", 0, 1_000_000),
    ("top_p", 0, 1),
    ("min_p", 0, 1),
    ("typical_p", 0, 1),
    ("repetition_penalty", 0.01, 100),
    ("frequency_penalty", -100, 100),
    ("presence_penalty", -100, 100),
    ("penalty_last_n", 0, 1_000_000),
    ("seed", 0, 2**SEED_BITS - 1),
    ("max_tokens", 1, 10_000_000),
    ("logprobs", 0, MAX_LOGPROBS),
    ("prompt_logprobs", 0, MAX_LOGPROBS),
)
SAMPLING_FIELDS = tuple(f.name for f in fields(SamplingParams))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSoFar:
    """The beginning of an answer that another engine wrote, which this one continues.

    A daemon knows nothing of it: who resumes an answer brings the prompt and the tokens again. So
    nobody can resume an answer that he has not read.
    """

    tokens: tuple[int, ...]
    # `Accepted.fingerprint` of the model that wrote it.
    fingerprint: str

    def check(self, sampling: "SamplingParams") -> None:
        """Raise `BadRequest` where an answer could not go on just as it began."""
        if not self.tokens:
            raise BadRequest(
                "an answer without tokens has not begun: leave resume out", field="resume.tokens"
            )
        if min(self.tokens) < 0 or max(self.tokens) > MAX_TOKEN_ID:
            raise BadRequest(f"a token id is between 0 and {MAX_TOKEN_ID}", field="resume.tokens")
        if not 0 < len(self.fingerprint) <= MAX_FINGERPRINT_CHARS:
            raise BadRequest(
                f"a fingerprint has 1 to {MAX_FINGERPRINT_CHARS} characters",
                field="resume.fingerprint",
            )
        for name in ("seed", "max_tokens"):
            if getattr(sampling, name) is None:
                raise BadRequest(
                    f"resume needs the {name} that the accepted answer told", field=name
                )
        if len(self.tokens) > (sampling.max_tokens or 0):
            raise BadRequest("the answer has more tokens than max_tokens", field="resume.tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """One generation, as a client states it.

    Exactly one of `prompt`, `prompt_ids` and `messages` is given.
    """

    # Text to continue.
    prompt: str | None = None
    # The images and sounds in `prompt`, in order; those of `messages` are in the turns.
    media: tuple[PlacedFile, ...] = ()
    # Token ids to continue.
    prompt_ids: tuple[int, ...] | None = None
    # Chat turns, rendered by the model's template.
    messages: tuple[ChatMessage, ...] | None = None
    # Control tokens written in `prompt` are meant as such (editors put fill-in-the-middle marks
    # there); False makes them text.
    special: bool = True
    # The options for rendering `messages`.
    chat: ChatOptions = field(default_factory=ChatOptions)
    # The form the answer must have.
    constraint: Constraint | None = None
    # None means the daemon's default.
    model: str | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)
    # Independent completions of the same prompt; completion i draws with seed + i.
    n: int = 1
    # None lets the daemon's rules decide.
    lane: str | None = None
    # The app whose work it is, where a front end asks for somebody else; None for the connection's
    # own process.
    app: str | None = None
    # Pins the KV under that name for the next turn.
    session: str | None = None
    deadline_ms: int | None = None
    # The LoRA adapters that the answer is made with; () for none. None where `model` names them
    # (`base+adapter@scale`), or there are none.
    lora: tuple[AdapterChoice, ...] | None = None
    # The client reads every row of logits from shared memory, or also chooses every token.
    logits: LogitsUse | None = None
    # False: none of its next tokens is guessed, whatever the option `speculate` says. Guesses
    # change no token, only the pace.
    speculate: bool = True
    # How long the model stays loaded after its last use, from now on; negative for ever. None
    # changes nothing. Only an admin's counts.
    keep_alive_s: float | None = None
    # An answer that was cut, to be continued: no token of it is drawn or sent again.
    resume: AnswerSoFar | None = None

    def check(self) -> None:
        """Raise `BadRequest`, naming the field, for a request that no model could serve."""
        given = [
            name for name in ("prompt", "prompt_ids", "messages") if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise BadRequest(
                "give exactly one of prompt, prompt_ids and messages"
                + (f", not {' and '.join(given)}" if given else ""),
                field=given[1] if given else "prompt",
            )
        if not getattr(self, given[0]) and not self.media:
            raise BadRequest(f"{given[0]} is empty", field=given[0])
        self._check_media()
        if self.prompt_ids is not None and min(self.prompt_ids) < 0:
            raise BadRequest("token ids are not negative", field="prompt_ids")
        if self.prompt_ids is not None and max(self.prompt_ids) > MAX_TOKEN_ID:
            raise BadRequest(
                f"prompt_ids: a token id is at most {MAX_TOKEN_ID}", field="prompt_ids"
            )
        if not 1 <= self.n <= MAX_N:
            raise BadRequest(f"n must be between 1 and {MAX_N}", field="n")
        if self.deadline_ms is not None and self.deadline_ms < 1:
            raise BadRequest("deadline_ms must be at least 1", field="deadline_ms")
        if self.logits is not None:
            self._check_logits()
        if self.resume is not None:
            self._check_resume(self.resume)
        if self.lora:
            check_adapters(self.lora, field="lora")
        self.sampling.check()
        if self.messages is not None:
            self.chat.check(self.messages)
        if self.constraint is not None:
            self._check_constraint(self.constraint)

    @property
    def placed(self) -> tuple[PlacedFile, ...]:
        """All images and sounds, in order."""
        return self.media + tuple(one for turn in self.messages or () for one in turn.media)

    def _check_media(self) -> None:
        if not self.media:
            return
        if self.prompt is None:
            raise BadRequest("media belongs to a prompt; a turn has its own", field="media")
        if len(self.media) > MAX_FILES:
            raise BadRequest(f"at most {MAX_FILES} images and sounds", field="prompt")
        check_media(self.prompt, self.media, "prompt")

    def _check_resume(self, begun: AnswerSoFar) -> None:
        if self.n > 1:
            raise BadRequest(
                "one answer is resumed: n must be 1, and completion i has seed + i", field="n"
            )
        if self.logits is not None:
            raise BadRequest("logits are in the memory of one machine", field="logits")
        begun.check(self.sampling)

    def _check_constraint(self, constraint: Constraint) -> None:
        constraint.check()
        if self.sampling.ignore_eos:
            raise BadRequest(
                f"{constraint.field} must be able to end the answer, and ignore_eos forbids it",
                field="ignore_eos",
            )
        if self.messages is not None and self.chat.forces_call:
            raise BadRequest(
                f"{constraint.field} and a forced tool call exclude each other",
                field=constraint.field,
            )

    def _check_logits(self) -> None:
        if self.logits not in LOGITS_USES:
            raise BadRequest(f"logits is {' or '.join(LOGITS_USES)}", field="logits")
        if self.n > 1:
            raise BadRequest("logits are read for one completion: n must be 1", field="n")
        if self.logits != "choose":
            return
        if self.sampling.logprobs is not None:
            raise BadRequest(
                "logprobs describe the engine's own choice, and here the client chooses the tokens",
                field="logprobs",
            )
        if self.chat.thinking_tokens is not None:
            raise BadRequest(
                "thinking_tokens limits the engine's draw, and here the client chooses",
                field="thinking_tokens",
            )
        if self.constraint is not None:
            raise BadRequest(
                f"{self.constraint.field} limits the engine's draw, and here the client chooses",
                field=self.constraint.field,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one completion."""

    prompt_tokens: int
    # Prompt tokens whose KV was already there.
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """The times of one completion, all counted from the moment the daemon accepted the request."""

    queued_ms: float
    first_token_ms: float
    total_ms: float
