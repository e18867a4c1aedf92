"""`umad` and `python -m umad`: nothing but the way in to `umad.cli`."""

import sys

from umad.exit_codes import INTERRUPTED
from umad.isolated import leave_working_folder

# Before anything else is imported: `python -m umad` would import it from where the user stands.
leave_working_folder()


def main() -> int:
    """Run this process's command line; its exit code."""
    try:
        # In here because it takes a while, and Ctrl-C meanwhile is no traceback.
        from umad.cli.app import main as run  # noqa: PLC0415

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
