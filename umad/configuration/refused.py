"""Names options of other servers that umad does not have, and says why.

They would change answers, so they are refused and not ignored. Turned off, they say what is the
case anyway. Not: options that umad has (`options`). Pure.
"""

from umad.configuration.kinds import SWITCH
from umad.errors import BadConfig

_NO_SHIFT = (
    "is not offered: a text whose beginning was dropped is another text. An answer ends where its "
    "context does; ctx_size and ctx_per_stream give it more"
)
REFUSED = {"context_shift": _NO_SHIFT, "ctx_shift": _NO_SHIFT}


def check_refused(name: str, text: str | None, at: str) -> None:
    """Raise `BadConfig` unless `text` turns the option `name` off. at: where it is said."""
    try:
        is_on = SWITCH.read(text or "")
    except ValueError:
        raise BadConfig(f"{at}: {name} must be {SWITCH.wants}", field=name) from None
    if is_on:
        raise BadConfig(f"{at}: {name} {REFUSED[name]}", field=name)
