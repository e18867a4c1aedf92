"""Names what of a process's environment decides where a pull goes, and as whom.

A job runs with the environment of the daemon that starts it. A person's shell may have another:
another token, another hub, another folder. Such a pull is done in the foreground instead, so that
it does what the person asked for. The two are told apart by a digest: no token goes over the
socket or into the book. A folder that is named relative to the working folder is settled first:
each process has its own.
"""

import hashlib
import json
import os
from collections.abc import Mapping

# Variables of the hub's client, of umad's store, of folders, and of proxies on the way.
_NAMES = frozenset(
    {
        "HOME",
        "UMAD_MODELS",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "ALL_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
    }
)
_FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "UMAD_MODELS", "XDG_CACHE_HOME")
_PREFIXES = ("HF_", "HUGGING_FACE_", "HUGGINGFACE_")


def surroundings(environ: Mapping[str, str]) -> str:
    """A digest of those variables: 64 hexadecimal digits."""
    chosen = {
        name: value
        for name, value in settled(environ).items()
        if value and (name.upper() in _NAMES or name.startswith(_PREFIXES))
    }
    return hashlib.sha256(json.dumps(sorted(chosen.items())).encode()).hexdigest()


def settled(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables, with whole paths in place of those relative to the working folder."""
    whole = {
        name: os.path.abspath(os.path.expanduser(environ[name]))
        for name in _FOLDERS
        if environ.get(name)
    }
    return {**environ, **whole}
