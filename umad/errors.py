"""Defines every error that umad raises on purpose, as one tree.

A code is stable and travels over the wire. A message is for a person and says what to do next. Not:
turning an error into a frame (`umad.protocol.errors`) or an exit code (`umad.cli`).
"""

from typing import ClassVar


class UmadError(Exception):
    """Root of the tree."""

    code: ClassVar[str] = "internal"
    # Whether the same call may succeed later without a change.
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        # The field of the request or file that is wrong, dotted, where there is one.
        self.field = field
        # The client's own id of the request that failed, where it is known. It says which request
        # an error frame ends.
        self.request_id: int | str | None = None


class InternalError(UmadError):
    """Something unexpected; the detail is in the log, never on the wire."""


class BadRequest(UmadError):
    """A value of a request is missing, of the wrong type or out of range."""

    code = "bad_request"


class PromptTooLong(BadRequest):
    """The prompt and the tokens asked for do not fit the model's context."""

    code = "prompt_too_long"


class MediaUnsupported(BadRequest):
    """The model takes no images or no sounds, and is asked about one."""

    code = "media_unsupported"


class BadMedia(BadRequest):
    """An image or a sound cannot be read: it is broken, too large, or of another kind."""

    code = "bad_media"


class UnsupportedAudio(BadRequest):
    """A file is no recording that can be decoded: another format, a container of video, damaged."""

    code = "unsupported_audio"


class AudioTooLong(BadRequest):
    """A recording has more bytes or seconds than one request may have."""

    code = "audio_too_long"


class UnknownModel(UmadError):
    """No loaded or known model has that name; the message lists the nearest."""

    code = "unknown_model"


class OtherModel(UmadError):
    """The model here is not the one that began the answer, so it cannot go on with it."""

    code = "other_model"


class UnknownRequest(UmadError):
    """No live request or session has that id."""

    code = "unknown_request"


class Unsupported(UmadError):
    """This build, model or version cannot do what was asked."""

    code = "unsupported"


class LimitExceeded(UmadError):
    """A limit on connections, requests or rates was reached."""

    code = "limit_exceeded"
    retryable = True


class QueueFull(LimitExceeded):
    """The largest allowed number of requests already waits."""

    code = "queue_full"


class Refused(UmadError):
    """The peer may not use this daemon (another user, a wrong key)."""

    code = "refused"


class ProtocolViolation(UmadError):
    """The bytes on a connection are not the protocol; the connection ends."""

    code = "protocol_error"


class FrameTooLarge(ProtocolViolation):
    """A frame announces more bytes than the limit."""

    code = "frame_too_large"


class UnsupportedVersion(ProtocolViolation):
    """The peer speaks another version of the protocol."""

    code = "unsupported_version"


class ModelLoadFailed(UmadError):
    """The model's file is missing, damaged or of an unknown kind."""

    code = "model_load_failed"


class ModelTooLarge(ModelLoadFailed):
    """Weights and KV do not fit this machine's memory."""

    code = "model_too_large"


class FetchFailed(UmadError):
    """A model could not be fetched: the network, the hub or its bytes. What came is kept."""

    code = "fetch_failed"
    retryable = True


class AccessNeeded(FetchFailed):
    """The hub gives this model only to those who accepted its licence, or have a token."""

    code = "access_needed"
    retryable = False


class DiskFull(FetchFailed):
    """The disk has no room for a model, or no longer has it."""

    code = "disk_full"
    retryable = False


class EngineFailed(UmadError):
    """The model's engine crashed and cannot be restarted for now."""

    code = "engine_failed"
    retryable = True


class DeadlineExceeded(UmadError):
    """The request's own deadline passed before it could end."""

    code = "deadline_exceeded"
    retryable = True


class Cancelled(UmadError):
    """Somebody ended the request before it had its one answer."""

    code = "cancelled"


class ShuttingDown(UmadError):
    """The daemon drains: running requests end, new ones are refused."""

    code = "shutting_down"
    retryable = True


class NoDaemon(UmadError):
    """Nothing listens on the socket."""

    code = "no_daemon"
    retryable = True


class AlreadyRunning(UmadError):
    """Another daemon owns the socket, or another program the gateway's address."""

    code = "already_running"


class ConnectionLost(UmadError):
    """The daemon closed the connection before the answer was complete."""

    code = "connection_lost"
    retryable = True


class ProxyFailed(UmadError):
    """The HAProxy of a router is gone, does not start, or refuses what it was told."""

    code = "proxy_failed"
    retryable = True


class BadConfig(UmadError):
    """A configuration file, variable or flag is wrong; names file, line and nearest key."""

    code = "bad_config"
