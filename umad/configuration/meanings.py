"""Reports options whose published words umad accepts but does not fully carry out.

Each gets one line at start, so that nobody relies on a missing function. Pure.
"""

from umad.config import Settings

# The ways to connect that a client may be given. Only the first one exists.
IPC_WORDS = ("uds", "pipe")


def said_at_start(settings: Settings, *, ipc: str) -> tuple[str, ...]:
    """One line for each option in force that does less than its words say."""
    lines = []
    if ipc != IPC_WORDS[0]:
        lines.append(f"--ipc {ipc} is not offered: clients connect over the Unix socket (uds)")
    if settings.engine.kv_pack != "unified":
        lines.append(
            f"kv_pack {settings.engine.kv_pack} means unified here: streams with cells of their "
            "own could not share prompts, and were slower in mixed steps"
        )
    if not settings.scheduler.preempt_at_token:
        lines.append(
            "scheduler.preempt_at_token false changes nothing: background work always gives way "
            "at the next token"
        )
    return tuple(lines)
