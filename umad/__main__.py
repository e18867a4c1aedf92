"""`umad` and `python -m umad`: nothing but the way in to `umad.cli`."""

import sys

INTERRUPTED = 130


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
