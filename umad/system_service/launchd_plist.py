"""Writes launchd's property list of a job, with plistlib; launchd.plist(5) has the keys. Pure.

launchd has no notification and no watchdog of the daemon, and its sockets need a function of
libSystem. So the daemon makes its socket itself, and starts at the login.
"""

import math
import plistlib

from umad.system_service.job import Job
from umad.system_service.own_files import MARK

# Unique among the jobs of one user. The project has no domain of its own to begin it with.
LABEL = "umad.daemon"
# The least seconds between two starts. launchd waits less where the daemon ran for longer; with a
# broken configuration it tries this often.
THROTTLE_S = 5
# launchd gives a process 256, and each client is one.
OPEN_FILES = 8192


def property_list(job: Job, *, log: str, user: str | None = None, home: str | None = None) -> bytes:
    """The list of a LaunchAgent, or with `user` of a LaunchDaemon that runs as that user.

    log: the file for what is written before the daemon has its own log. home: the user's home,
    which only a login would set.
    """
    environment = dict(job.environment)
    if home is not None:
        environment["HOME"] = home
    keys: dict[str, object] = {
        "Label": LABEL,
        "ProgramArguments": list(job.command),
        "EnvironmentVariables": environment,
        "RunAtLoad": True,
        # A daemon that was told to end has ended well, and stays so.
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": THROTTLE_S,
        # SIGKILL comes only after the answers have had their time.
        "ExitTimeOut": math.ceil(job.stop_s),
        # Without it macOS may run the engines on the slow cores.
        "ProcessType": "Interactive",
        # One session's agent: a second login by ssh starts no second daemon.
        "LimitLoadToSessionType": "Aqua" if user is None else "System",
        # In decimal, which is all that a property list has: 077.
        "Umask": 0o077,
        "SoftResourceLimits": {"NumberOfFiles": OPEN_FILES},
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    if user is not None:
        keys["UserName"] = user
    head, _, rest = plistlib.dumps(keys, sort_keys=False).partition(b"\n")
    return head + b"\n<!-- Written by " + MARK + b", which also replaces it. -->\n" + rest
