"""Finds the path of the daemon's socket: one rule for the daemon and for everybody who looks for
it.

    $UMAD_SOCKET, else $XDG_RUNTIME_DIR/umad/umad.sock, else
    macOS   ~/Library/Application Support/umad/umad.sock
    others  ~/.local/state/umad/umad.sock

A login, cron, ssh and sudo give one user different variables. So clients that are told of no socket
look at every place where a daemon of this user may listen (`socket_places`), and a daemon in one of
them leaves a link in the last (`umad.daemon.socket_places`).

Pure: the caller passes environment and platform in, and no file is looked at. Not: the folder, its
mode or the lock beside the socket (the daemon's).
"""

from collections.abc import Mapping
from pathlib import PurePath

from umad.errors import BadConfig

# sun_path of struct sockaddr_un (unix(7), macOS sys/un.h), less the closing NUL.
_LINUX_BYTES = 108 - 1
_BSD_BYTES = 104 - 1


def socket_path_limit_bytes(platform: str) -> int:
    """Longest path of a Unix socket. platform: as `sys.platform`."""
    return _LINUX_BYTES if platform == "linux" else _BSD_BYTES


def check_socket_path(path: str, platform: str) -> str:
    """Return `path` if the platform's sockets take it; otherwise raise `BadConfig`."""
    limit_bytes = socket_path_limit_bytes(platform)
    # File names may hold bytes that are not UTF-8; Python keeps those as surrogates.
    length_bytes = len(path.encode("utf-8", "surrogateescape"))
    if not path or "\0" in path:
        raise BadConfig("the socket's path is empty or holds a NUL byte", field="socket")
    if length_bytes > limit_bytes:
        raise BadConfig(
            f"the socket's path has {length_bytes} bytes, this system takes {limit_bytes}: {path}; "
            "name a shorter one with --socket or UMAD_SOCKET",
            field="socket",
        )
    return path


def default_socket_path(environ: Mapping[str, str], platform: str) -> str:
    """The socket's path where no option names one. environ: as `os.environ`.

    Raises `BadConfig` where the path is too long or no variable says where to put the socket.
    """
    if named := environ.get("UMAD_SOCKET"):
        return check_socket_path(named, platform)
    folder = _runtime(environ) or _state(environ, platform)
    if folder is None:
        raise BadConfig("neither UMAD_SOCKET nor HOME is set: name a socket", field="socket")
    return check_socket_path(_socket_in(folder), platform)


def socket_places(
    environ: Mapping[str, str], platform: str, uid: int, *, home: str | None = None
) -> tuple[str, ...]:
    """Every path at which a daemon of the user `uid` may listen that was told of none, best first.

    home: the user's own, where the environment may have another's (sudo). Raises `BadConfig` where
    there is no such path.
    """
    if named := environ.get("UMAD_SOCKET"):
        return (check_socket_path(named, platform),)
    # pam_systemd's folder, also where the variable is missing or another user's.
    login = PurePath(f"/run/user/{uid}") if platform == "linux" else None
    own = _state({"HOME": home or ""}, platform)
    folders = (_runtime(environ), _state(environ, platform), login, own)
    paths = dict.fromkeys(_socket_in(folder) for folder in folders if folder is not None)
    fitting = tuple(path for path in paths if _fits(path, platform))
    return fitting or (default_socket_path(environ, platform),)


def _runtime(environ: Mapping[str, str]) -> PurePath | None:
    # "All paths set in these environment variables must be absolute" (XDG base directories).
    folder = PurePath(environ.get("XDG_RUNTIME_DIR", ""))
    return folder if folder.is_absolute() else None


def _state(environ: Mapping[str, str], platform: str) -> PurePath | None:
    home = environ.get("HOME")
    state = "Library/Application Support" if platform == "darwin" else ".local/state"
    return PurePath(home, state) if home else None


def _socket_in(folder: PurePath) -> str:
    return str(folder / "umad" / "umad.sock")


def _fits(path: str, platform: str) -> bool:
    try:
        check_socket_path(path, platform)
    except BadConfig:
        return False
    return True
