"""Takes secrets out of text that other programs wrote. Pure.

SkyPilot's own dump of a task prints secrets in clear, and an error may quote the task it is
about. Everything that comes from SkyPilot passes here before anybody sees it or a file gets it.
"""

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote

HIDDEN = "<secret>"
# Shorter words would be found in anything; umad's secrets are longer.
_LEAST = 8


def scrubbed(text: str, secret_words: Iterable[str]) -> str:
    """The text, with no secret and no line of one: as it is, in JSON, in base64, in an address."""
    for word in sorted(_forms(secret_words), key=len, reverse=True):
        text = text.replace(word, HIDDEN)
    return text


def _forms(secret_words: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for secret in secret_words:
        # A digest map has a line for each key, and a line is enough to know.
        for part in {secret, *secret.splitlines(), *secret.split()}:
            if len(part) < _LEAST:
                continue
            found |= {part, json.dumps(part)[1:-1], quote(part, safe="")}
            found.add(base64.b64encode(part.encode()).decode())
    return found
