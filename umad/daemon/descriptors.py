"""Limits connections to the file descriptors that the system gives this process.

A daemon without free descriptors could not start an engine again, and everybody would lose their
running requests. So the soft limit is raised as far as needed; where that is not enough, fewer
connections are taken. macOS gives a process 256 descriptors unless it asks for more.
Called once, before the event loop.
"""

import logging
import resource

log = logging.getLogger(__name__)

# Descriptors of a daemon with a few engines at work: each engine needs a link, a pipe and what its
# start takes. 19 were counted with one engine.
RESERVED = 48


def fitting_connections(wanted: int, *, besides: int = 0) -> int:
    """The number of `wanted` connections that fit; raises the process's limit to make them fit.

    besides: further connections, for which room is always kept.
    """
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
