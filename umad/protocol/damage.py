"""Finds the request of a message that cannot be read, so that no other one has to fail with it."""

import msgpack

from umad.protocol.asking import RequestId

# Bytes of a head with the longest id, in four-byte characters.
_HEAD_BYTES = 1024


def damaged_id(body: bytes) -> RequestId | None:
    """The request of a body that `umad.protocol.events.parse_event` cannot read; None where the
    body does not tell it.

    An engine makes the end of a tokens message, and the daemon makes its head and does not read the
    end. So a damaged end must fail that request alone, and not the others on the connection.
    """
    unpacker = msgpack.Unpacker()
    unpacker.feed(body[:_HEAD_BYTES])
    try:
        if unpacker.read_map_header() == 5:
            fields = {unpacker.unpack(): unpacker.unpack() for _ in range(2)}
            if fields.get("type") == "tokens" and isinstance(fields.get("id"), int | str):
                return fields["id"]  # type: ignore[no-any-return]
    except (ValueError, TypeError, msgpack.OutOfData):
        pass
    return None
