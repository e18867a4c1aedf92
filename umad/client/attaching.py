"""Fetches the descriptor of a request's logits, over a connection of its own.

A transport of an event loop cannot receive a descriptor, and the daemon cannot send one between the
frames of a busy connection. So this connection carries nothing else and is closed again.
Not: reading the memory behind the descriptor (`umad.client.logits`). Blocks; any thread.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from umad.asker import Asker
from umad.client.channel import Channel
from umad.client.options import ClientOptions
from umad.client.results import as_facts
from umad.clock import Clock
from umad.errors import ProtocolViolation
from umad.protocol.errors import error_of_failed
from umad.protocol.messages import AttachLogits, Result
from umad.service import Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedRing:
    """A ring of logits that the client may read."""

    # Where marks and rows lie (`umad.sampling.ring`).
    layout: Mapping[str, Any]
    # Open for reading; the caller closes it.
    fd: int


def attach_ring(
    path: str,
    options: ClientOptions,
    clock: Clock,
    request: str,
    *,
    choose: bool,
    asker: Asker | None = None,
) -> AttachedRing:
    """Attach to `request`, the daemon's id of a live request of this very process.

    Raises `UnknownRequest` for any other request, and the errors of a connection.
    """
    channel = Channel.open(path, options, clock)
    try:
        message = AttachLogits(id=1, asker=asker, request=request, choose=choose)
        channel.send(message)
        answer, fd = channel.receive_descriptor(message.id, options.call_s)
    finally:
        channel.close()
    if isinstance(answer, Failed):
        raise error_of_failed(answer)
    if fd is None or not isinstance(answer, Result):
        raise ProtocolViolation("the daemon's answer brings no descriptor")
    layout = as_facts(answer.value)
    if os.fstat(fd).st_size < int(layout.get("n_bytes", 0)):
        os.close(fd)
        raise ProtocolViolation("the daemon's ring of logits is smaller than it says")
    return AttachedRing(layout=layout, fd=fd)
