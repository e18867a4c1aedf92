"""Defines the three kinds of verbs, and makes a verb a method of both clients.

A verb is a function of `umad.client.verbs`. It takes the method's arguments and returns a value
that says what to send and how to read the answer:

    Question    one message, one answer                       client.tokenize(...)
    Flow        one generation, read event by event           client.stream(...)
    Gathering   the same, read to its end into one value      client.chat(...)

`umad.client.blocking` and `umad.client.asynchronous` each define once how a kind is carried out.
Not: any verb itself. Values only; nothing here blocks.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args

from umad.client.options import ClientOptions
from umad.protocol.messages import Request, RequestId
from umad.request import GenerateRequest
from umad.service import GenerationEvent

T = TypeVar("T")
R = TypeVar("R")
M = TypeVar("M", bound=Callable[..., Any])

Wait = Literal["call", "load", "embed"]
# Facts of every loaded model, as `models` lists them.
ModelFacts = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Generic[T]):
    """One message with one answer."""

    # Makes the message from the id that the connection gives it.
    message: Callable[[RequestId], Request]
    # Checks the answer's type; raises `ProtocolViolation`.
    read: Callable[[Any], T]
    # The timeout of `ClientOptions` that applies. Giving up on an "embed" cancels it.
    wait: Wait = "call"

    def timeout_s(self, options: ClientOptions) -> float:
        """The longest wait for the answer."""
        match self.wait:
            case "call":
                return options.call_s
            case "load":
                return options.load_s
            case "embed":
                return options.embed_s


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFlow(Generic[T]):
    """One generation, read while it runs."""

    request: GenerateRequest
    # Called once with the models' facts (none unless `wants_models`). The function it returns is
    # called with every event and returns the caller's pieces for it.
    reader: Callable[[ModelFacts], Callable[[GenerationEvent], Iterable[T]]]
    # Whether the client must ask for the facts before it sends the request.
    wants_models: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering(Generic[T, R]):
    """One generation, read to its end."""

    flow: EventFlow[T]
    fold: Callable[[list[T]], R]


def dressed(method: M, verb: Callable[..., Any], *, owner: str, returns: Callable[[Any], Any]) -> M:
    """`method` with the name, the documentation and the signature of `verb`.

    owner: the class it is a method of. returns: makes the method's return type from the type inside
    the verb's kind.
    """
    plain = inspect.signature(verb)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = plain.replace(
        parameters=[own, *plain.parameters.values()],
        return_annotation=returns(get_args(plain.return_annotation)[-1]),
    )
    vars(method).update(__signature__=signature)
    method.__name__ = verb.__name__
    method.__qualname__ = f"{owner}.{verb.__name__}"
    method.__doc__ = verb.__doc__
    return method
