"""Room for file descriptors: as many connections as the system lets this process have.

A daemon out of descriptors could not start an engine again, and everybody would lose what runs. So
the soft limit is raised as far as it takes, and where that is not enough fewer connections are
taken. macOS gives a process 256 unless it asks for more.
Called once, before the event loop.
"""

import logging
import resource

log = logging.getLogger(__name__)

# Of a daemon with a few engines at work, each with a link, a pipe and what starting one needs; 19
# were counted with one engine.
RESERVED = 48


def fitting_connections(wanted: int, *, besides: int = 0) -> int:
    """How many of `wanted` connections there is room for; raises the process's limit to fit.
    besides: others, which there is always room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserved = RESERVED + besides
    needed = wanted + reserved
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    room = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))
    except (OSError, ValueError) as error:  # macOS has a limit beyond the hard one
        log.info("descriptor limit stays soft=%d reason=%s", soft, error)
        room = soft
    if room >= needed:
        return wanted
    fitting = max(1, room - reserved)
    log.warning(
        "fewer connections than configured: %d instead of %d descriptors=%d",
        fitting,
        wanted,
        room,
    )
    return fitting
