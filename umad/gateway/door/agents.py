"""Names a caller without a key by the product its User-Agent begins with (RFC 9110, 10.1.5).

    claude-cli/2.1.197 (external, cli)  -> claude-cli
    OpenAI/Python 3.52.0                -> OpenAI-Python
    Mozilla/5.0 (X11; Linux x86_64) …   -> Mozilla

With such names, callers share a lane's time by tool instead of as one caller, and rules of `apps:`
apply to them. Anybody may send any name, so a name gives no right that could not be had without it.
A key's own name wins. The number of names is limited, because each is a row of the scorecard. Pure.
"""

import re
from collections.abc import Callable

MOST_NAMES = 64
OTHERS = "http-other"
_PRODUCT = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.+-]{0,47})(?:/([^\s/;(),]{1,32}))?")


def app_of(user_agent: str | None) -> str | None:
    """The product, or None if none is named. The part behind its slash belongs to the name unless
    it is a version.
    """
    found = _PRODUCT.match(user_agent or "")
    if found is None:
        return None
    name, rest = found[1], found[2] or ""
    return f"{name}-{rest}" if rest.isalpha() else name


def naming(most: int = MOST_NAMES) -> Callable[[str | None], str | None]:
    """Makes an `app_of` that gives at most so many names; later callers are `OTHERS`."""
    known: set[str] = set()

    def name(user_agent: str | None) -> str | None:
        app = app_of(user_agent)
        if app is None or app in known:
            return app
        if len(known) >= most:
            return OTHERS
        known.add(app)
        return app

    return name
