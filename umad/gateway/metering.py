"""Charges a generation to its key: the prompt when it is accepted, each token as it comes.

It is a listener (`umad.gateway.listening`), so generations of keys without a quota of tokens cost
nothing. Not: buckets (`umad.gateway.door.quotas`). Owner: the task of its HTTP request.
"""

from typing_extensions import override

from umad.embedding import EmbedRequest, RerankRequest
from umad.errors import UmadError
from umad.gateway.door.quotas import BYTES_PER_TOKEN, TOKENIZED_PER_TOKEN, Meter
from umad.gateway.listening import Listener
from umad.request import GenerateRequest
from umad.service import Accepted, Done, Tokens


class Metered(Listener):
    """Charges one generation. `most_tokens` is held for an answer without a limit of its own."""

    def __init__(self, meter: Meter, request: GenerateRequest, *, most_tokens: int) -> None:
        """Holds the tokens that the generation may use. Raises `TooMany` if none are left."""
        self._meter = meter
        self._estimate = prompt_estimate(request)
        self._is_counted = False
        self._has_begun = False
        asked = request.sampling.max_tokens
        answer = min(most_tokens, most_tokens if asked is None else asked)
        meter.hold(self._estimate + request.n * answer)

    @override
    def hear(self, event: Accepted | Tokens | Done) -> None:
        match event:
            case Accepted():
                self._meter.take(self._estimate)
            case Tokens():
                self._has_begun = True
                self._meter.take(len(event.ids))
            case Done():
                self.counted(event.usage.prompt_tokens)

    @override
    def end(self, error: UmadError | None) -> None:
        if error is not None and not self._has_begun and not self._is_counted:
            # The engine refused the prompt, and tokenized it to find that out.
            self.counted(tokenized_share(self._estimate))

    def counted(self, prompt_tokens: int) -> None:
        """Charge the prompt's tokens, now counted; once, however many answers it has."""
        if not self._is_counted:
            self._is_counted = True
            self._meter.take(prompt_tokens - self._estimate)


# Encoders make some hundreds to some thousands of tokens of an image, and the engine says how many.
TOKENS_OF_A_FILE = 512


def prompt_estimate(request: GenerateRequest) -> int:
    """Estimated tokens of a prompt that is not counted yet; at least one."""
    if request.prompt_ids is not None:
        return len(request.prompt_ids)
    files = len(request.placed) * TOKENS_OF_A_FILE
    if request.prompt is not None:
        return text_estimate(request.prompt) + files
    tools = sum(len(one.description) + len(str(one.parameters)) for one in request.chat.tools)
    turns = sum(
        len(one.content) + len(one.reasoning or "") + sum(len(c.arguments) for c in one.tool_calls)
        for one in request.messages or ()
    )
    return (tools + turns) // BYTES_PER_TOKEN + 1 + files


def text_estimate(text: str) -> int:
    """Estimated tokens of a text; at least one."""
    return len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN + 1


def embed_estimate(request: EmbedRequest | RerankRequest) -> int:
    """Estimated tokens of all texts that are to be embedded or compared."""
    if isinstance(request, RerankRequest):
        query = text_estimate(request.query)
        return sum(query + text_estimate(one) for one in request.documents)
    return sum(text_estimate(one) if isinstance(one, str) else len(one) for one in request.inputs)


def tokenized_share(n_tokens: int) -> int:
    """The charge for tokenizing so many tokens, or for turning them back into text."""
    return n_tokens // TOKENIZED_PER_TOKEN + 1
