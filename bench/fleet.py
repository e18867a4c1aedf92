"""Simulates a day of a fleet, on the router's own policy and a clock that is a number.

A thousand machines of three sizes serve a million sessions: few at night and many by day, crowds
that come within seconds, machines that fail (5 % an hour), that their owners use, whose scorecards
are half a minute old (10 %), and that lie (2 %). The same day is served by the policy, by HAProxy
with the policy's weights, and by what proxies do without it. A simulation, not a measurement: a
simulated machine knows streams, prompts and kept cells, and nothing else (`bench.fleet_world`).
`python -m bench fleet` takes about an hour, and `--nodes 40 --sessions 4000` a minute.

    fleet_traffic  the sessions of a day        fleet_world   the machines
    fleet_routes   the contenders
"""

import argparse
import concurrent.futures
import dataclasses
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from rich.console import Console

from bench import command, machine
from bench.fleet_routes import (
    LeastConnections,
    Policy,
    PrefixHash,
    RoundRobin,
    StickyLeast,
    Weights,
    key_of,
)
from bench.fleet_traffic import Floats, Scenario, sizes, traffic
from bench.fleet_world import HOURS, Outcome, Route, World
from bench.table import Comparison
from umad.router.policy import Fleet, Placer, PolicySettings, Reading
from umad.units import NS_PER_S

CONTENDERS: Mapping[str, Callable[[Floats], Route]] = {
    "round robin": RoundRobin,
    "least connections": LeastConnections,
    "prefix hash": PrefixHash,
    "sticky least": StickyLeast,
    "umad weights": Weights,
    "umad": Policy,
}
BASELINE = "round robin"
# Rows of the table: what they are called, and the field of `Outcome`.
ROWS = {
    "beyond their cap, %": "beyond_cap_pct",
    "turns with kept cells, %": "hit_pct",
    "turns that moved, %": "moved_pct",
    "imbalance": "imbalance",
    "first token p50, s": "first_p50_s",
    "first token p95, s": "first_p95_s",
    "cut by failures, %": "cut_pct",
}
NOTES = (
    "beyond their cap: in over 5 of 100 seconds 1.2 times slower than alone, or 10 s late to begin",
    "turns with kept cells: later turns whose earlier text was not read again",
    "imbalance: standard deviation of the streams by size, by their mean, every ten seconds",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One contender's day, and what its choices cost where the policy makes them."""

    outcome: Outcome
    placement_us: float | None = None
    # Weights that were pushed to HAProxy, a second.
    pushes_per_s: float | None = None


def day(name: str, scenario: Scenario) -> Day:
    """Let a contender serve the scenario's day."""
    route = CONTENDERS[name](sizes(scenario))
    outcome = World(scenario, traffic(scenario)).run(route)
    placement_us = pushes = None
    if isinstance(route, Policy) and route.placements:
        placement_us = route.placing_ns / route.placements / 1e3
    if isinstance(route, Weights):
        pushes = route.pushes / scenario.day_s
    return Day(outcome=outcome, placement_us=placement_us, pushes_per_s=pushes)


def placements(*, nodes: int, sessions: int) -> dict[str, float]:
    """Microseconds of processor time of a new session's placement and a known one's, and the
    megabytes of the table."""
    settings = PolicySettings()
    rng = np.random.default_rng(11)
    fleet = Fleet(settings=settings, rng=_random(rng))
    placer = Placer(fleet, settings=settings, rng=_random(rng))
    now_ns = 10 * NS_PER_S
    for number in range(nodes):
        fleet.join(f"n{number}", now_ns=now_ns)
    for _ in range(8):
        for number in range(nodes):
            reading = Reading(running=4, kv_used=number % 20 / 20, loaded=frozenset({"m"}))
            fleet.reported(f"n{number}", reading, now_ns)
        now_ns += 5 * NS_PER_S
    found: dict[str, float] = {}
    for what in ("new", "known"):
        taken_us = np.zeros(sessions)
        for session in range(sessions):
            key = key_of(session)
            began_ns = time.thread_time_ns()
            placer.place_key(key, "m", now_ns)
            taken_us[session] = (time.thread_time_ns() - began_ns) / 1e3
        for rank in (50, 99):
            found[f"{what}_p{rank}_us"] = round(float(np.percentile(taken_us, rank)), 1)
    found["sessions"] = len(placer.sessions)
    found["table_mb"] = round(placer.sessions.n_bytes / 1e6, 1)
    return found


def _random(rng: np.random.Generator) -> random.Random:
    return random.Random(int(rng.integers(0, 1 << 32)))


def comparison(days: Mapping[str, Sequence[Day]], scenario: Scenario) -> Comparison:
    """The table: a row for each figure, a column for each contender, a sample for each day."""
    return Comparison(
        kind="fleet",
        title=f"{scenario.nodes:,} machines, {scenario.sessions:,} sessions",
        unit="share, s",
        condition="figure",
        baseline=BASELINE,
        samples={
            row: {
                name: [float(getattr(one.outcome, field)) for one in served]
                for name, served in days.items()
            }
            for row, field in ROWS.items()
        },
        notes=NOTES,
    )


def by_hour(days: Mapping[str, Sequence[Day]]) -> Comparison:
    """Requests beyond their cap, hour by hour."""
    return Comparison(
        kind="day",
        title="Requests beyond their cap, hour by hour",
        unit="%",
        condition="hour",
        baseline=BASELINE,
        samples={
            str(hour): {
                name: [one.outcome.beyond_by_hour[hour] for one in served]
                for name, served in days.items()
            }
            for hour in range(HOURS)
        },
    )


def _served(
    scenario: Scenario, options: argparse.Namespace, console: Console
) -> dict[str, list[Day]]:
    """Every contender's days. A day depends on nothing but its scenario, so days may be
    simulated in several processes at once."""
    days: dict[str, list[Day]] = {name: [] for name in CONTENDERS}
    with concurrent.futures.ProcessPoolExecutor(options.processes) as pool:
        waiting = {}
        # The policy's days take longest, so they begin first.
        for name in reversed(tuple(CONTENDERS)):
            for seed in range(1, options.days + 1):
                one = pool.submit(day, name, dataclasses.replace(scenario, seed=seed))
                waiting[one] = f"{name}, day {seed}"
        for done in concurrent.futures.as_completed(waiting):
            console.print(f"{waiting[done]}: simulated", style="dim", highlight=False)
        for one, what in waiting.items():
            days[what.rpartition(",")[0]].append(one.result())
    return days


def run(options: argparse.Namespace, console: Console) -> None:
    """Simulate and print (and write) the table."""
    scenario = Scenario(nodes=options.nodes, sessions=options.sessions, load=options.load_pct / 100)
    days = _served(scenario, options, console)
    notes = [f"a day takes {scenario.day_s:,} s there; the fleet is {options.load_pct} % busy"]
    for name, served in days.items():
        if served[0].placement_us is not None:
            notes.append(f"{name}: a placement takes {served[0].placement_us:.1f} µs on average")
        if served[0].pushes_per_s is not None:
            notes.append(f"{name}: {served[0].pushes_per_s:.1f} weights change in a second")
    cost = placements(nodes=options.nodes, sessions=options.sessions)
    notes.append(", ".join(f"{what} {value:g}" for what, value in cost.items()))
    command.publish(
        options,
        console,
        benchmark="fleet",
        facts=machine.facts(None),
        comparisons=[comparison(days, scenario), by_hour(days)],
        notes=notes,
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("fleet", __doc__)
    add = parser.add_argument
    add("--nodes", type=command.positive, default=1000, help="machines")
    add("--sessions", type=command.positive, default=1_000_000)
    add("--load-pct", type=command.positive, default=33, help="how busy the fleet is on average")
    add("--processes", type=command.positive, default=2, help="days simulated at once")
    add("--days", type=command.positive, default=1, help="days with other random numbers")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
