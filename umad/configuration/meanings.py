"""Options that umad accepts by their published words and that mean less here than they say.

Each gets one line at start, so that nobody counts on what is not there. Pure.
"""

from umad.config import Settings

# The ways a client may be told to connect. Only the first is there.
IPC_WORDS = ("uds", "pipe")


def said_at_start(settings: Settings, *, ipc: str) -> tuple[str, ...]:
    """One line for each option in force that does not do what its words say."""
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
