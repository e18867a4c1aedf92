"""Chooses the one id that a request has in its header, its log line and its error."""

import re
import secrets

# A client's id is used if it can stand unchanged in a header and a log line.
_USABLE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def request_id_of(given: str | None) -> str:
    """The client's own id, where it sent one that is usable, else a new one."""
    if given is not None and _USABLE.fullmatch(given):
        return given
    return f"req_{secrets.token_hex(12)}"
