"""Measures what a second app costs in memory: umad's proportional set size with one app and two.

PSS counts a shared page once, split among its users. So the sum over a process tree is what the
tree really takes. Linux only. Not a leak test (tests/fault). `python -m bench memory`
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench import command, machine, models, peers
from bench.errors import BenchError
from bench.umad_daemon import DaemonSettings, UmadDaemon, greedy
from umad.client import AsyncClient
from umad.service import Tokens

_MIB = 2**20
# The model is warm and every app well into its answer when memory is read.
_TOKENS_BEFORE = 16
_WAIT_S = 120.0


async def _generating(socket_path: Path, prompt: list[int], ready: asyncio.Event) -> None:
    seen = 0
    async with AsyncClient(socket_path) as client:
        async for event in client.events(greedy(prompt, 2000)):
            if isinstance(event, Tokens):
                seen += len(event.ids)
            if seen >= _TOKENS_BEFORE:
                ready.set()


async def _pss_while(daemon: UmadDaemon, n_apps: int) -> tuple[int, int]:
    """(engine's PSS, whole tree's PSS) in bytes while `n_apps` apps generate at once."""
    ready = [asyncio.Event() for _ in range(n_apps)]
    tasks = [
        asyncio.create_task(
            _generating(daemon.socket_path, list(range(100 * i, 100 * i + 200)), event)
        )
        for i, event in enumerate(ready)
    ]
    try:
        async with asyncio.timeout(_WAIT_S):
            await asyncio.gather(*(event.wait() for event in ready))
        return await asyncio.to_thread(_pss, daemon.pid)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _pss(pid: int) -> tuple[int, int]:
    top = psutil.Process(pid)
    engine, tree = 0, top.memory_full_info().pss
    for child in top.children(recursive=True):
        pss = child.memory_full_info().pss
        tree += pss
        if "umad.engine" in child.cmdline():
            engine += pss
    return engine, tree


def measure(model: Path, *, threads: int) -> dict[str, float]:
    """MiB of the engine and of the tree with one app, and of both with two."""
    daemon = UmadDaemon(
        DaemonSettings(
            model=model,
            streams=4,
            stream_context_tokens=2048,
            threads=threads,
            log_name="memory",
        )
    )
    with contextlib.ExitStack() as stack:
        stack.callback(daemon.stop)
        daemon.start()
        asyncio.run(_pss_while(daemon, 1))  # faults the weights in
        engine_one, tree_one = asyncio.run(_pss_while(daemon, 1))
        engine_two, tree_two = asyncio.run(_pss_while(daemon, 2))
    return {
        "engine, one app": engine_one / _MIB,
        "tree, one app": tree_one / _MIB,
        "engine, two apps": engine_two / _MIB,
        "tree, two apps": tree_two / _MIB,
    }


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table."""
    if not psutil.LINUX:
        raise BenchError("only Linux tells the proportional set size")
    model = models.path(options.model)
    figures = measure(model, threads=options.threads)
    for line in machine.facts(peers.build()).lines():
        console.print(line, highlight=False)
    table = Table(title=f"PSS of {model.stem}", title_justify="left")
    for column in ("", "MiB", "against one engine's alone"):
        table.add_column(column, justify="right" if column else "left")
    for label, mib in figures.items():
        table.add_row(label, f"{mib:.1f}", f"{mib / figures['engine, one app']:.3f}x")
    console.print(table)
    command.write(options, {"benchmark": "memory", **figures})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = command.parser("memory", __doc__, model="qwen2-0.5b")
    return command.main(parser, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
