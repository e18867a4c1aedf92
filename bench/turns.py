"""Measures how soon the next turn of a long conversation starts, against its cold first turn.

Each repetition is one conversation of several turns, told to umad and to llama-server turn by turn,
so that what else the machine does falls on both. Its system prompt is nearly all of its first turn,
as an agent's is. Then come its second turn; the same with its last message edited; another app's
chat with the same system prompt; a turn after many other conversations; one after a stranger has
filled the KV pool, which holds little more than one conversation; and one after a restart. The
models are one of each kind of memory that is more than cells: states of recurrent layers, and
windows. After each turn both servers rest for some seconds, as they do while somebody reads.

All of umad's answers are then held against the bare library's on an empty context (`bench.cold`).
Where one is not as good as cold, the benchmark says so and ends with exit code 1.
`python -m bench turns`; `--models tiny` takes a minute.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from bench import cold, command, machine, models, peers, real_weights, running, shapes
from bench.chat_servers import ChatRoom, ChatServer, ServerChats, UmadChats
from bench.chat_texts import ChatTexts
from bench.cold import Verdict
from bench.errors import BenchError
from bench.table import Comparison
from bench.talks import EDITED, FIRST, ROWS, Told, pool_cells, script, tell
from umad.conversation import ChatMessage

CONTENDERS = ("umad", "llama-server")
_WARMING_WORDS = 1000
# Of the cold turn's time.
GOALS = {row: 0.15 if row == EDITED else 0.05 for row in ROWS if row != FIRST}


def comparisons(told: Told, *, title: str, baseline: str) -> list[Comparison]:
    """Milliseconds to the first text, and the same as shares of the cold turn's."""
    times = {
        row: {name: [turn.first_ms for turn in turns] for name, turns in columns.items()}
        for row, columns in told.turns.items()
    }
    shares = {
        row: {
            name: [
                value / cold_ms for value, cold_ms in zip(values, times[FIRST][name], strict=True)
            ]
            for name, values in columns.items()
        }
        for row, columns in times.items()
        if row != FIRST
    }

    def table(kind: str, unit: str, samples: dict[str, dict[str, list[float]]]) -> Comparison:
        return Comparison(
            kind=kind,
            title=title,
            unit=unit,
            condition="first text of",
            baseline=baseline,
            samples=samples,
        )

    found = [table("turns", "ms", times)]
    # Where only the cold turn was asked for, it is a share of nothing.
    return [*found, table("turns-share", "of the cold turn", shares)] if shares else found


def facts_of(told: Told, shares: Comparison) -> list[str]:
    """Lines that say what was computed, and which goals are missed."""
    lines = []
    for row, columns in told.turns.items():
        computed = ", ".join(
            f"{name} {turns[-1].n_prompt - turns[-1].n_cached} of {turns[-1].n_prompt}"
            for name, turns in columns.items()
        )
        before = f"; {told.parked[row][-1]} parked before" if row in told.parked else ""
        lines.append(f"{row}: prompt tokens computed: {computed}{before}")
    held = {row: columns for row, columns in shares.samples.items() if row in GOALS}
    missed = [
        f"{row} {max(columns['umad']):.3f} of {GOALS[row]}"
        for row, columns in held.items()
        if max(columns.get("umad", [0.0])) > GOALS[row]
    ]
    if held:
        lines.append(f"umad misses: {'; '.join(missed)}" if missed else "umad reaches every goal")
    return lines


def questions(told: Told) -> list[tuple[str, cold.Question]]:
    """Umad's answers, each with its row."""
    return [
        (row, cold.Question(prompt=turn.prompt, answer=turn.ids, first=turn.first))
        for row, columns in told.turns.items()
        for turn in columns.get("umad", ())
    ]


def judged(rows: Sequence[str], verdicts: Sequence[Verdict]) -> tuple[str, list[str]]:
    """What the bare library says of umad's answers: in a line, and those that are not as good."""
    if not verdicts:
        return "", []
    same, n = (sum(getattr(one, field) for one in verdicts) for field in ("same", "n"))
    line = (
        f"umad's {len(verdicts)} answers beside the bare library's on an empty context: {same} of"
        f" {n} tokens the same; first tokens' log-probabilities at most"
        f" {max(one.first for one in verdicts):.3f} nats apart, where its own slicings are"
        f" {max(one.bound for one in verdicts):.3f}"
    )
    wrong = [
        f"{row}: first token {one.first:.3f} nats off (bound {one.bound:.3f}), worst token"
        f" {one.worst:.3f} below the likeliest"
        for row, one in zip(rows, verdicts, strict=True)
        if not one.holds
    ]
    return line, wrong


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the tables of all models."""
    built = peers.build() if "llama-server" in options.contenders else peers.built()
    facts = machine.facts(built)
    tables: list[Comparison] = []
    wrong: list[str] = []
    for name in _model_names(options.models):
        path = real_weights.gemma() if name == real_weights.GEMMA else models.path(name)
        with console.status("") as status:
            # A long run says what it has found; tables come at its end.
            lines = Console(stderr=True, soft_wrap=True, style="dim", highlight=False)
            of_model, differing = _of_model(path, options, built, status.update, lines.print)
        tables += of_model
        wrong += [f"{path.stem}, {one}" for one in differing]
    notes = (
        (
            f"{options.repeats} conversations of {options.tokens} tokens, a pool of"
            f" {pool_cells(options.tokens)}; {options.others} others of {options.other_tokens};"
            f" {options.threads} threads; {options.rest:g} s of rest after each turn;"
            " contenders take turns, row by row"
        ),
        *(f"{server.name}: {server.method}" for server in (UmadChats, ServerChats)),
    )
    command.publish(
        options, console, benchmark="turns", facts=facts, comparisons=tables, notes=notes
    )
    if wrong:
        raise BenchError(f"answers are not as good as cold: {'; '.join(wrong)}")


def _of_model(
    path: Path,
    options: argparse.Namespace,
    built: peers.Peers | None,
    progress: Callable[[str], None],
    told_line: Callable[[str], None],
) -> tuple[list[Comparison], list[str]]:
    room = ChatRoom(
        model=path,
        n_cells=pool_cells(options.tokens),
        answer_tokens=options.answer_tokens,
        threads=options.threads,
        umad_arguments=tuple(options.umad.split()),
        logprobs=options.check,
    )
    servers: list[ChatServer] = []
    if "umad" in options.contenders:
        servers.append(UmadChats(room))
    if "llama-server" in options.contenders and built is not None:
        servers.append(ServerChats(built, room))
    progress(f"{path.stem}  starts")
    with running.started(servers):
        factor, *_ = [_words_per_token(server) for server in servers]
        scripts = [
            script(
                ChatTexts(seed=number, words_per_token=factor),
                tokens=options.tokens,
                others=options.others,
                other_tokens=options.other_tokens,
            )
            for number in range(options.repeats)
        ]
        told = tell(
            servers,
            scripts,
            rows=[row for row in ROWS if row == FIRST or row in options.rows],
            progress=lambda stage: progress(f"{path.stem}  {stage}"),
            told=told_line,
            rest_s=options.rest,
        )
    *times, last = comparisons(told, title=path.stem, baseline=servers[-1].name)
    asked = questions(told) if options.check else []
    progress(f"{path.stem}  holds {len(asked)} answers against the bare library's")
    verdicts = cold.judge(path, [one for _, one in asked], threads=options.threads) if asked else []
    line, wrong = judged([row for row, _ in asked], verdicts)
    notes = tuple(one for one in (*facts_of(told, last), line) if one)
    return [*times, dataclasses.replace(last, notes=notes)], wrong


def _words_per_token(server: ChatServer) -> float:
    """Found by asking for the answers to two texts, which also warm it up: a server that has just
    started is slow at first, and the cold turn would look worse than it is."""
    few, many = (
        server.turn(
            (ChatMessage(role="user", content=ChatTexts(seed=-1).draw(n)),),
            app="counter",
            session=f"counted-{n}",
        ).n_prompt
        for n in (1, 1 + _WARMING_WORDS)
    )
    return _WARMING_WORDS / (many - few)


def _model_names(asked: Sequence[str]) -> list[str]:
    return [
        name
        for one in asked
        for name in (shapes.TINY_HYBRIDS_AND_WINDOWS if one == "tiny" else (one,))
    ]


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("turns", __doc__)
    add, count = parser.add_argument, command.positive
    told = f"shapes, nano, paths of GGUFs, {real_weights.GEMMA}, or tiny for four tiny shapes"
    add("--models", nargs="+", default=shapes.HYBRIDS_AND_WINDOWS, metavar="MODEL", help=told)
    add("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS, metavar="NAME")
    add("--rows", nargs="+", choices=ROWS, default=ROWS, metavar="ROW", help=", ".join(ROWS))
    add("--tokens", type=count, default=4000, help="of the first turn's prompt")
    add("--answer-tokens", type=count, default=16)
    add("--others", type=count, default=20, help="conversations before a later turn")
    add("--other-tokens", type=count, default=200, help="of each of theirs")
    add("--repeats", type=count, default=3)
    rest = (
        "for which an answer is read before the next question; what a server does meanwhile is free"
    )
    add("--rest", type=float, default=3.0, metavar="SECONDS", help=rest)
    add("--umad", default="", metavar="OPTIONS", help="added to `umad serve`, in one argument")
    held = "do not hold answers against the bare library's"
    add("--no-check", dest="check", action="store_false", help=held)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
