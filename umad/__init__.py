"""umad: one daemon, one mapped model, every app on the machine. All a program needs, in one place.

    from umad import Client

    with Client() as client:
        print(client.chat("Why is the sky blue?"))
        for piece in client.text("Once upon a time", max_tokens=50):
            print(piece, end="")

`AsyncClient` has the same methods for an event loop. Errors are raised, each a `UmadError` with a
stable `code`; `retryable` says whether the same call may succeed later.

The promise: a name of `__all__` keeps its place and its meaning, and a function its arguments,
until the next minor version before 1.0 and the next major one after; the changelog names every
change. Rows, events and requests may gain fields, functions may gain keywords. Everything that is
not in `__all__` may change at any time.

A name is imported when it is first used, so that `import umad` costs a program nothing and the
command line and the daemon do not load the client. The map of the code is `docs/architecture.md`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from umad.version import __version__ as __version__

if TYPE_CHECKING:
    from umad.chat.events import Content, Reasoning
    from umad.client import AsyncClient, Client, ClientOptions
    from umad.client.chats import ChatResult, Piece
    from umad.client.keywords import Prompt
    from umad.client.logits import LogitsRow, read_logits, read_logits_async
    from umad.client.pictures import Audio, Image
    from umad.client.rows import AdapterRow, FeltRow, ForgottenRow, MetricsRow, ModelRow, RequestRow
    from umad.client.turns import Turn
    from umad.constraint import Constraint
    from umad.content import MediaFile
    from umad.conversation import ChatMessage, ChatOptions, Tool, ToolCall
    from umad.embedding import Embeddings, EmbedRequest, Ranked, Ranking, RerankRequest
    from umad.errors import (
        AccessNeeded,
        AlreadyRunning,
        AudioTooLong,
        BadConfig,
        BadMedia,
        BadRequest,
        Cancelled,
        ConnectionLost,
        DeadlineExceeded,
        DiskFull,
        EngineFailed,
        FetchFailed,
        FrameTooLarge,
        InternalError,
        LimitExceeded,
        MediaUnsupported,
        ModelLoadFailed,
        ModelTooLarge,
        NoDaemon,
        OtherModel,
        PromptTooLong,
        ProtocolViolation,
        ProxyFailed,
        QueueFull,
        Refused,
        ShuttingDown,
        UmadError,
        UnknownModel,
        UnknownRequest,
        Unsupported,
        UnsupportedAudio,
        UnsupportedVersion,
    )
    from umad.request import GenerateRequest, SamplingParams, Timings, Usage
    from umad.sampling.ring import RowOverwritten
    from umad.service import (
        Accepted,
        Done,
        Event,
        Failed,
        GenerationEvent,
        Loading,
        Logits,
        Progress,
        TokenLogprob,
        Tokens,
    )
    from umad.transcription import Heard, Segment, TranscribeRequest, Transcript, Word

# The names of each module: those imported above, which only a type checker reads.
_HOMES = {
    "umad.client": ("AsyncClient", "Client", "ClientOptions"),
    "umad.request": ("GenerateRequest", "SamplingParams", "Timings", "Usage"),
    "umad.content": ("MediaFile",),
    "umad.conversation": ("ChatMessage", "ChatOptions", "Tool", "ToolCall"),
    "umad.constraint": ("Constraint",),
    "umad.embedding": ("EmbedRequest", "Embeddings", "Ranked", "Ranking", "RerankRequest"),
    "umad.transcription": ("Heard", "Segment", "TranscribeRequest", "Transcript", "Word"),
    "umad.client.chats": ("ChatResult", "Piece"),
    "umad.chat.events": ("Content", "Reasoning"),
    "umad.client.keywords": ("Prompt",),
    "umad.client.pictures": ("Audio", "Image"),
    "umad.client.turns": ("Turn",),
    "umad.service": (
        "Accepted",
        "Done",
        "Event",
        "Failed",
        "GenerationEvent",
        "Loading",
        "Logits",
        "Progress",
        "TokenLogprob",
        "Tokens",
    ),
    "umad.client.rows": (
        "AdapterRow",
        "FeltRow",
        "ForgottenRow",
        "MetricsRow",
        "ModelRow",
        "RequestRow",
    ),
    "umad.client.logits": ("LogitsRow", "read_logits", "read_logits_async"),
    "umad.sampling.ring": ("RowOverwritten",),
    "umad.errors": (
        "AccessNeeded",
        "AlreadyRunning",
        "AudioTooLong",
        "BadConfig",
        "BadMedia",
        "BadRequest",
        "Cancelled",
        "ConnectionLost",
        "DeadlineExceeded",
        "DiskFull",
        "EngineFailed",
        "FetchFailed",
        "FrameTooLarge",
        "InternalError",
        "LimitExceeded",
        "MediaUnsupported",
        "ModelLoadFailed",
        "ModelTooLarge",
        "NoDaemon",
        "OtherModel",
        "PromptTooLong",
        "ProtocolViolation",
        "ProxyFailed",
        "QueueFull",
        "Refused",
        "ShuttingDown",
        "UmadError",
        "UnknownModel",
        "UnknownRequest",
        "Unsupported",
        "UnsupportedAudio",
        "UnsupportedVersion",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Accepted",
    "AccessNeeded",
    "AdapterRow",
    "AlreadyRunning",
    "AsyncClient",
    "Audio",
    "AudioTooLong",
    "BadConfig",
    "BadMedia",
    "BadRequest",
    "Cancelled",
    "ChatMessage",
    "ChatOptions",
    "ChatResult",
    "Client",
    "ClientOptions",
    "ConnectionLost",
    "Constraint",
    "Content",
    "DeadlineExceeded",
    "DiskFull",
    "Done",
    "EmbedRequest",
    "Embeddings",
    "EngineFailed",
    "Event",
    "Failed",
    "FeltRow",
    "FetchFailed",
    "ForgottenRow",
    "FrameTooLarge",
    "GenerateRequest",
    "GenerationEvent",
    "Heard",
    "Image",
    "InternalError",
    "LimitExceeded",
    "Loading",
    "Logits",
    "LogitsRow",
    "MediaFile",
    "MediaUnsupported",
    "MetricsRow",
    "ModelLoadFailed",
    "ModelRow",
    "ModelTooLarge",
    "NoDaemon",
    "OtherModel",
    "Piece",
    "Progress",
    "Prompt",
    "PromptTooLong",
    "ProtocolViolation",
    "ProxyFailed",
    "QueueFull",
    "Ranked",
    "Ranking",
    "Reasoning",
    "Refused",
    "RequestRow",
    "RerankRequest",
    "RowOverwritten",
    "SamplingParams",
    "Segment",
    "ShuttingDown",
    "Timings",
    "TokenLogprob",
    "Tokens",
    "Tool",
    "ToolCall",
    "TranscribeRequest",
    "Transcript",
    "Turn",
    "UmadError",
    "UnknownModel",
    "UnknownRequest",
    "Unsupported",
    "UnsupportedAudio",
    "UnsupportedVersion",
    "Usage",
    "Word",
    "__version__",
    "read_logits",
    "read_logits_async",
]


def __getattr__(name: str) -> Any:
    """A name of `__all__` that has not been used yet (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    """The names that an interactive prompt completes."""
    return sorted({*globals(), *__all__})
