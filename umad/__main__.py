"""Starts `umad.cli`, as `umad` and as `python -m umad`. Nothing else."""

import sys

from umad.exit_codes import INTERRUPTED
from umad.isolated import leave_working_folder

# Before any other import: `python -m umad` would import from the user's working folder first.
leave_working_folder()


def main() -> int:
    """Run this process's command line; return its exit code."""
    try:
        # Imported here because it takes a while: Ctrl-C meanwhile must give no traceback.
        from umad.cli.app import main as run  # noqa: PLC0415

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
