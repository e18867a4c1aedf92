"""Lists the options under `limits`, which bound the work of one daemon. A part of `options`.
Pure.
"""

from umad.configuration.kinds import BYTES, SECONDS, count, whole
from umad.configuration.option import Option, nested_option

LIMITS: tuple[Option, ...] = (
    nested_option(
        "limits",
        "frame_bytes",
        BYTES,
        "Longest frame a client may send.",
        "A longer one ends the connection.",
    ),
    nested_option(
        "limits",
        "connections",
        count("connections"),
        "Most connections at once.",
        "One more to the socket is refused.",
    ),
    nested_option(
        "limits",
        "requests_per_connection",
        count("requests"),
        "Most requests of one connection.",
        "One more at the same time is refused.",
    ),
    nested_option(
        "limits",
        "prompt_tokens",
        whole(1, 16_777_216, unit="tokens", word="none"),
        "Longest prompt allowed.",
        "A longer one is refused. none leaves the bound to ctx_size.",
    ),
    nested_option(
        "limits",
        "half_frame_s",
        SECONDS,
        "How long half a frame is held.",
        "A client that stops in the middle of a frame for longer is hung up on.",
    ),
    nested_option(
        "limits",
        "hello_s",
        SECONDS,
        "How long a connection may wait to say hello.",
        "A silent connection is closed after it.",
    ),
    nested_option(
        "limits",
        "send_queue_bytes",
        BYTES,
        "Unread output that pauses a client's streams.",
        "Beyond it the client's own streams pause until it reads. Nobody else waits.",
    ),
    nested_option(
        "limits",
        "load_s",
        SECONDS,
        "How long a model may take to load.",
        "An engine that takes longer is ended, and the load fails.",
    ),
    nested_option(
        "limits",
        "drain_s",
        SECONDS,
        "How long running requests may end after a stop.",
        "What still runs then is cancelled.",
    ),
    nested_option(
        "limits",
        "stall_s",
        SECONDS,
        "Silence after which an engine is restarted.",
        "Its streams go on in the new engine. Too short ends engines that are only slow.",
    ),
    nested_option(
        "limits",
        "jobs",
        count("jobs"),
        "Most pulls and quantizations at once.",
        "Others wait their turn. umad jobs lists them.",
    ),
    nested_option(
        "limits",
        "audio_s",
        SECONDS,
        "Longest recording of one request.",
        "A longer one is refused by umad transcribe and by HTTP.",
    ),
    nested_option(
        "limits",
        "choice_s",
        SECONDS,
        "How long a client may take to choose a token.",
        "A request with logits: choose ends when its client takes longer.",
    ),
)
