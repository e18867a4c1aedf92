"""Lists the exit codes of umad's commands; README.md lists them for users. Values only."""

DONE = 0
# The request failed, or the doctor found something to mend.
FAILED = 1
# Wrong usage.
USAGE = 2
# No daemon listens on the socket.
NO_DAEMON = 3
# Refused: authorisation or limits.
REFUSED = 4
# Ended by Ctrl-C: 128 + SIGINT, as shells have it.
INTERRUPTED = 130
