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
    """One generation. most_tokens: of an answer that says no number of its own."""

    def __init__(self, meter: Meter, request: GenerateRequest, *, most_tokens: int) -> None:
        """Holds what the generation may use. Raises `TooMany` where nothing is left."""
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
            # Refused for its prompt, which was tokenized to find that out.
            self.counted(tokenized_share(self._estimate))

    def counted(self, prompt_tokens: int) -> None:
        """The prompt has so many tokens; it is charged once, however many answers it has."""
        if not self._is_counted:
            self._is_counted = True
            self._meter.take(prompt_tokens - self._estimate)


def prompt_estimate(request: GenerateRequest) -> int:
    """Tokens of a prompt before anybody has counted them; at least one."""
    if request.prompt_ids is not None:
        return len(request.prompt_ids)
    if request.prompt is not None:
        return text_estimate(request.prompt)
    tools = sum(len(one.description) + len(str(one.parameters)) for one in request.chat.tools)
    turns = sum(
        len(one.content) + len(one.reasoning or "") + sum(len(c.arguments) for c in one.tool_calls)
        for one in request.messages or ()
    )
    return (tools + turns) // BYTES_PER_TOKEN + 1


def text_estimate(text: str) -> int:
    """Tokens of a text; at least one."""
    return len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN + 1


def embed_estimate(request: EmbedRequest | RerankRequest) -> int:
    """Tokens of everything that is to be embedded or compared."""
    if isinstance(request, RerankRequest):
        query = text_estimate(request.query)
        return sum(query + text_estimate(one) for one in request.documents)
    return sum(text_estimate(one) if isinstance(one, str) else len(one) for one in request.inputs)


def tokenized_share(n_tokens: int) -> int:
    """What tokenizing so many tokens, or the way back, is charged as."""
    return n_tokens // TOKENIZED_PER_TOKEN + 1
