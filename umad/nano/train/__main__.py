"""`python -m umad.nano.train`: train, or export and evaluate what was trained.

Not imported by anything. Owner: the person at the terminal.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import sys
from pathlib import Path

# Before torch starts its threads: spinning at barriers made a step seven times slower on a
# machine with other work, and gained nothing on an idle one.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from umad.nano.train.loop import Plan, Trainer


def deadline(minutes: float | None, at: str | None) -> datetime.datetime:
    """From `--minutes`, or the next time the clock shows `--deadline HH:MM`."""
    now = datetime.datetime.now().astimezone()
    if at is None:
        return now + datetime.timedelta(minutes=90.0 if minutes is None else minutes)
    hour, minute = at.split(":")
    moment = now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    return moment if moment > now else moment + datetime.timedelta(days=1)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m umad.nano.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run's files")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="wall time of a new run (default 90)")
    length.add_argument("--deadline", metavar="HH:MM", help="stop at this time of day")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--extra-corpus", type=Path, help="another folder of Python files")
    parser.add_argument("--log", type=Path, help="append the log to this file")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, filename=options.log, format="%(asctime)s %(message)s")
    plan = Plan(
        out=options.out,
        seed=options.seed,
        deadline=deadline(options.minutes, options.deadline),
        n_threads=options.threads,
        extra_corpus=options.extra_corpus,
    )
    Trainer(plan).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
