"""Writes systemd's two units of a job: umad.socket and umad.service. Pure.

systemd.socket(5), systemd.service(5) and systemd.exec(5) have the words. They are units of the
user's own manager, so nothing here needs root.
"""

import math
import re
from collections.abc import Iterator, Mapping

from umad.errors import BadConfig
from umad.system_service.job import Job
from umad.system_service.own_files import MARK

SOCKET, SERVICE = "umad.socket", "umad.service"
WATCHDOG_S = 30
# As many as the daemon's own socket has (`umad.daemon.socket_file`).
BACKLOG = 1024
# After a crash.
RESTART_MS = 200
# Not even in quotes (`string_is_safe` of systemd's sources). Arguments may have them.
_NOT_IN_PROGRAMS = frozenset("\"'\\")
_EXEC_START, _ENVIRONMENT = "ExecStart=:", "Environment="
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')
_HEAD = f"""\
# Written by {MARK.decode()}, which also replaces it.
# Changes of your own: systemctl --user edit %s
"""


def units(job: Job) -> Mapping[str, str]:
    """The text of each unit, by its name. Raises `BadConfig` where systemd takes no such path."""
    if set(job.command[0]) & _NOT_IN_PROGRAMS:
        raise BadConfig(
            f"systemd takes no quotes and backslashes in the path of a program: {job.command[0]}; "
            "install umad somewhere else"
        )
    if job.socket is not None and (job.socket != job.socket.strip() or job.socket.endswith("\\")):
        # Spaces would be dropped, and a backslash would join the next line to this one.
        raise BadConfig(
            f"systemd takes no socket whose path ends in a space or a backslash: {job.socket!r}; "
            "name another one with UMAD_SOCKET",
            field="socket",
        )
    return {SOCKET: _socket(job), SERVICE: _service(job)}


def command_of(text: str) -> tuple[str, ...]:
    """The daemon's command line in a unit that `units` has written; empty in any other."""
    return tuple(next(_words(text, _EXEC_START), ()))


def environment_of(text: str) -> dict[str, str]:
    """The daemon's own variables in a unit that `units` has written; none in any other."""
    pairs = (word.partition("=") for words in _words(text, _ENVIRONMENT) for word in words)
    return {name: value for name, _, value in pairs}


def _words(text: str, begin: str) -> Iterator[list[str]]:
    """The quoted words of each line that begins so."""
    # Not `splitlines`: a word may have a form feed's relatives in it, such as U+2028.
    for line in text.split("\n"):
        if line.startswith(begin):
            words = (re.sub(r"\\(.)", r"\1", word) for word in _WORD.findall(line))
            yield [word.replace("%%", "%") for word in words]


def _socket(job: Job) -> str:
    place = "%t/umad/umad.sock" if job.socket is None else job.socket.replace("%", "%%")
    return f"""{_HEAD % SOCKET}
[Unit]
Description=Socket of umad, the model server of this user

[Socket]
ListenStream={place}
SocketMode=0600
DirectoryMode=0700
Backlog={BACKLOG}
# A client that finds no file says at once that no daemon is there.
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""


def _service(job: Job) -> str:
    variables = "".join(
        f"{_ENVIRONMENT}{_quoted(f'{name}={value}')}\n"
        for name, value in sorted(job.environment.items())
    )
    install = "\n[Install]\nWantedBy=default.target\n" if job.at_login else ""
    return f"""{_HEAD % SERVICE}
[Unit]
Description=umad, the model server of this user
Requires={SOCKET}
After={SOCKET}
StartLimitIntervalSec=60
StartLimitBurst=10

[Service]
Type=notify
{_EXEC_START}{_command(job.command)}
{variables}Restart=on-failure
RestartSec={RESTART_MS}ms
# Wrong usage stays wrong.
RestartPreventExitStatus=2
# For imports, a probe of the memory and a look at all folders of models. The daemon asks for more
# while a model loads, and while answers end.
TimeoutStartSec=300
TimeoutStopSec={math.ceil(job.stop_s)}
WatchdogSec={WATCHDOG_S}
# The daemon ends its engines itself, once their answers have ended.
KillMode=mixed
# An engine that the kernel kills for memory is started again; it must not take the daemon along.
OOMPolicy=continue
UMask=0077
# A core file would have prompts in it.
LimitCORE=0

# What llama.cpp lives with. Not here: MemoryDenyWriteExecute, since callbacks and shaders are code
# that is made at run time; PrivateDevices, since a GPU is one; ProtectHome, since models lie there;
# and what needs a namespace of users here, in which other users look alike to the daemon.
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
{install}"""


def _command(words: tuple[str, ...]) -> str:
    # The colon before them: no variable is put in for a $ in a word.
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """One word of a unit's line. Control characters never come here (`make_job`)."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'
