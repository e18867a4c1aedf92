"""Runs `python -m bench NAME …`: one benchmark by its name, or without a name all published ones.

Not: what they measure, nor their options; each lists its own with --help. Options given without a
name (`--charts DIR`, `--ahead`) go to each of the published ones.
Owner: the process's main thread.
"""

import argparse
import difflib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from bench import (
    adapters,
    budget,
    check,
    comeback,
    editor,
    embed,
    fleet,
    four_apps,
    gateway,
    kept,
    kernels,
    longctx,
    masks,
    media,
    memory,
    mixed,
    newcomers,
    overhead,
    plan,
    predict,
    several,
    soak,
    speculation,
    speech,
    speed,
    trace,
    turns,
)


def _later(name: str) -> Callable[[Sequence[str]], int]:
    """One that loads llama.cpp into its own process, which nobody else here wants in theirs."""
    return lambda arguments: int(importlib.import_module(f"bench.{name}").main(arguments))


BENCHMARKS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "mixed": mixed.main,
    "newcomers": newcomers.main,
    "longctx": longctx.main,
    "overhead": overhead.main,
    "four-apps": four_apps.main,
    "speed": speed.main,
    "kernels": kernels.main,
    "gateway": gateway.main,
    "masks": masks.main,
    "budget": budget.main,
    "memory": memory.main,
    "check": check.main,
    "soak": soak.main,
    "media": media.main,
    "several": several.main,
    "speech": speech.main,
    "turns": turns.main,
    "kept": kept.main,
    "embed": embed.main,
    "adapters": adapters.main,
    "editor": editor.main,
    "comeback": comeback.main,
    "fleet": fleet.main,
    "router": _later("router"),
    "speculation": speculation.main,
    "sampling": _later("sampling"),
    "determinism": _later("determinism"),
    "plan": plan.main,
    "predict": predict.main,
    "trace": trace.main,
}
PUBLISHED = ("mixed", "longctx", "overhead", "four-apps")


def main(arguments: Sequence[str]) -> int:
    """The benchmark's exit code; of several, the first that is not 0."""
    if not arguments or arguments[0].startswith("-"):
        _all_parser().parse_args(arguments)
        for name in PUBLISHED:
            if code := BENCHMARKS[name](arguments):
                return code
        return 0
    name, *rest = arguments
    if name not in BENCHMARKS:
        near = difflib.get_close_matches(name, BENCHMARKS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(BENCHMARKS)}"
        Console(stderr=True).print(f"error: no benchmark is called {name}; {hint}", markup=False)
        return 2
    return BENCHMARKS[name](rest)


def _all_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.usage = f"%(prog)s [NAME …] [--ahead] [--charts DIR]   NAME: {', '.join(BENCHMARKS)}"
    parser.add_argument("--ahead", action="store_true", help="go before other work (root)")
    parser.add_argument("--charts", metavar="DIR", help="write JSON and charts there")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
