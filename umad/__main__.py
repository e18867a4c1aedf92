"""Starts `umad.cli`, as `umad` and as `python -m umad`. Nothing else."""

import gc
import sys

from umad.exit_codes import INTERRUPTED
from umad.isolated import leave_working_folder

# Before any other import: `python -m umad` would import from the user's working folder first.
leave_working_folder()

# New objects between two searches for garbage. Imports make many objects and no garbage, and with
# Python's own 700 a start of the daemon spends a tenth of its time on searching them.
_GC_THRESHOLD = 20_000


def main() -> int:
    """Run this process's command line; return its exit code."""
    gc.set_threshold(_GC_THRESHOLD)
    try:
        # Imported here because it takes a while: Ctrl-C meanwhile must give no traceback.
        from umad.cli.app import main as run  # noqa: PLC0415

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
