"""Messages of the client socket: the names other packages use, gathered.

The daemon: `parse_hello` for the first body of a connection, `parse_request` for every other;
answers with `encode_welcome`, `encode_event`, `encode_tokens`, `encode_result`, `encode_error`.
A client: `encode_request` and `parse_event`.
"""

from umad.protocol.events import (
    Message,
    Result,
    Welcome,
    WireLogprobs,
    encode_error,
    encode_event,
    encode_failed,
    encode_logits,
    encode_result,
    encode_tokens,
    encode_welcome,
    parse_event,
    tokens_head,
)
from umad.protocol.parsing import parse_hello, parse_request
from umad.protocol.requests import (
    AT_ONCE,
    AttachLogits,
    Cancel,
    ChooseToken,
    Detokenize,
    Generate,
    Hello,
    Load,
    Metrics,
    Models,
    Ping,
    Priority,
    Request,
    RequestId,
    Sessions,
    Tokenize,
    Unload,
    encode_request,
)

__all__ = [
    "AT_ONCE",
    "AttachLogits",
    "Cancel",
    "ChooseToken",
    "Detokenize",
    "Generate",
    "Hello",
    "Load",
    "Message",
    "Metrics",
    "Models",
    "Ping",
    "Priority",
    "Request",
    "RequestId",
    "Result",
    "Sessions",
    "Tokenize",
    "Unload",
    "Welcome",
    "WireLogprobs",
    "encode_error",
    "encode_event",
    "encode_failed",
    "encode_logits",
    "encode_request",
    "encode_result",
    "encode_tokens",
    "encode_welcome",
    "parse_event",
    "parse_hello",
    "parse_request",
    "tokens_head",
]
