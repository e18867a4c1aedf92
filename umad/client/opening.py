"""Provides the parts of opening a connection: the socket's path, the hello, the connect errors.

Not: the connecting itself, which differs between a loop and a thread.
"""

import os
import pwd
import sys

from umad.client.options import ClientOptions
from umad.errors import (
    BadRequest,
    LimitExceeded,
    NoDaemon,
    ProtocolViolation,
    Refused,
    UmadError,
)
from umad.protocol import PROTOCOL_VERSION
from umad.protocol.errors import error_of_failed, wrong_version
from umad.protocol.frames import encode_frame
from umad.protocol.messages import LOADING, Hello, Message, Welcome, encode_request
from umad.service import Failed
from umad.socket_path import check_socket_path, socket_places
from umad.version import __version__


def places_of(path: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """The given path, or every place to look at. Raises `BadConfig` where no socket can be."""
    if path is None:
        return socket_places(os.environ, sys.platform, os.getuid(), home=_own_home())
    return (check_socket_path(os.fspath(path), sys.platform),)


def _own_home() -> str | None:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a container's user without a name
        return None


def hello_frame(options: ClientOptions) -> bytes:
    """A connection's first frame."""
    capabilities = (LOADING,) if options.tells_loading else ()
    hello = Hello(client=f"{options.name}/{__version__}", capabilities=capabilities)
    return encode_frame(encode_request(hello))


def welcome_of(message: Message) -> Welcome:
    """The daemon's answer to the hello; raises the error it sent instead."""
    if isinstance(message, Failed):
        raise error_of_failed(message)
    if not isinstance(message, Welcome):
        raise ProtocolViolation("the daemon's first message is not a hello")
    if message.protocol != PROTOCOL_VERSION:
        raise wrong_version(daemon=message.protocol, client=PROTOCOL_VERSION)
    return message


def request_frame(body: bytes, welcome: Welcome) -> bytes:
    """The frame of a request. Raises `BadRequest` where the daemon would not take it."""
    if 0 < welcome.frame_bytes < len(body):
        raise BadRequest(
            f"the request has {len(body)} bytes, the daemon takes {welcome.frame_bytes}"
        )
    return encode_frame(body)


def connect_error(path: str, error: OSError) -> UmadError:
    """The error that tells the user what an `OSError` of connect(2) means."""
    match error:
        case FileNotFoundError() | ConnectionRefusedError():
            return NoDaemon(f"no daemon listens on {path}; start one: umad serve")
        case PermissionError():
            return Refused(
                f"{path} belongs to another user; run a daemon of your own, or set UMAD_SOCKET"
            )
        case BlockingIOError():
            return LimitExceeded(f"the daemon on {path} has no room for another connection now")
        case _:
            return NoDaemon(f"{path} cannot be connected to: {error.strerror or error}")


def silent_daemon(path: str, waited_s: float) -> NoDaemon:
    """The error for a socket that a process holds but does not answer."""
    return NoDaemon(
        f"the daemon on {path} did not answer within {waited_s:g} s; see its log, or end it: "
        f"its pid is in {path}.lock"
    )
