"""Measures what streams of a chat feel while an hour of speech is heard on the same machine.

Three conditions take turns on one running daemon: the streams alone; beside `umad transcribe` of an
hour; and beside whisper.cpp in a process of its own with nothing around it, which is what people
run who have no server that knows of both. Each stream goes on for the whole window. The models have
random weights in the shape of Whisper tiny.en and of the chat's model; real ones may be named.

The figures are waits between two messages (`bench.latency`), and the processor time of whisper.cpp,
which is what the recording gets. A step is the median wait of the streams alone. With --check it
fails where p95 beside `umad transcribe` is beyond the latency cap, or a wait is longer than three
steps. Not: how well a model hears (`make weights-test`).
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
from rich.console import Console

from bench import cache, command, machine, models, running
from bench import load as loading
from bench.errors import BenchError
from bench.latency import Felt, felt
from bench.load import Load
from bench.prompts import Prompts
from bench.table import Comparison
from bench.targets import Room, UmadTarget
from umad.client import Client
from umad.testing.whisper_file import write_whisper

ALONE, BESIDE, PLAIN = "alone", "beside umad transcribe", "beside whisper.cpp"
CONDITIONS = (ALONE, BESIDE, PLAIN)
CAP, MOST_STEPS = 1.20, 3.0
_RATE, _HOUR_S = 16_000, 3600
_TINY_WIDTH, _TINY_LAYERS = 384, 4
# It must have begun with the encoder before the streams are watched.
_BEGUN_CPU_S = 0.3
_START_S = 60.0
_STOP_S = 10.0
_LOOK_S = 0.05
_LABELS = {
    "p50_ms": "wait p50, ms",
    "p95_ms": "wait p95, ms",
    "p99_ms": "wait p99, ms",
    "longest_ms": "longest wait, ms",
    "tokens_per_s": "tokens/s",
}
_HEARS = "whisper.cpp's processor time, s/s"


class Listener(Protocol):
    """Something that hears an hour. All methods block."""

    def start(self) -> None:
        """Return once it computes."""

    def stop(self) -> None:
        """End it; also one that was not started."""

    def cpu_s(self) -> float:
        """Processor time of whisper.cpp so far."""


class Nobody:
    """Silence."""

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def cpu_s(self) -> float:
        """None is used."""
        return 0.0


class UmadTranscribe:
    """The command, asking the daemon that serves the streams too."""

    def __init__(self, target: UmadTarget, recording: Path) -> None:
        self._target = target
        self._recording = recording
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once the transcriber computes."""
        before_s = self.cpu_s()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "umad", "transcribe", str(self._recording)),
                *("--socket", str(self._target.socket_path)),
            ],
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parent.parent,
        )
        # A transcriber that was killed begins anew at nothing.
        _wait(lambda: not 0 <= self.cpu_s() - before_s < _BEGUN_CPU_S, self._process)

    def stop(self) -> None:
        """Interrupt it, and wait until the daemon knows."""
        running.end(self._process, within_s=_STOP_S)
        if self._process is None:
            return
        with Client(self._target.socket_path) as client:
            _wait(lambda: not client.sessions(), None)

    def cpu_s(self) -> float:
        """Of the daemon's transcriber."""
        (pid,) = self._target.pids
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "umad.speech.hearing" in child.cmdline():
                    times = child.cpu_times()
                    return times.user + times.system
        return 0.0


class PlainWhisper:
    """whisper.cpp and a loop around it (`bench.plain_whisper`)."""

    def __init__(self, model: Path, *, threads: int) -> None:
        self._command = [sys.executable, "-m", "bench.plain_whisper", str(model), str(threads)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once it computes."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parent.parent,
            # As a terminal of its own starts it.
            start_new_session=True,
        )
        # Beyond what its imports and the model take.
        _wait(lambda: self.cpu_s() > 2.0, self._process)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=_STOP_S)

    def cpu_s(self) -> float:
        """Of the process."""
        if self._process is None:
            return 0.0
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(self._process.pid).cpu_times()
            return times.user + times.system
        return 0.0


def _wait(is_so: Callable[[], bool], process: subprocess.Popen[bytes] | None) -> None:
    deadline_s = time.perf_counter() + _START_S
    while not is_so():
        if process is not None and process.poll() is not None:
            raise BenchError(f"{process.args!r} ended before it heard anything")
        if time.perf_counter() > deadline_s:
            raise BenchError(f"nothing has changed for {_START_S:.0f} s")
        time.sleep(_LOOK_S)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Samples by condition, one per repetition."""

    felt: Mapping[str, Sequence[Felt]]
    # Processor seconds of whisper.cpp in a second.
    hears: Mapping[str, Sequence[float]]

    def complaints(self) -> list[str]:
        """What beside `umad transcribe` is beyond the promise; of the medians, because one window
        may have had a guest that nobody invited."""
        found = []
        pairs = list(zip(self.felt[BESIDE], self.felt[ALONE], strict=True))
        ratio = _median([beside.p95_ms / alone.p95_ms for beside, alone in pairs])
        steps = _median([beside.longest_ms / alone.p50_ms for beside, alone in pairs])
        if ratio > CAP:
            found.append(f"p95 is {ratio:.2f} times alone, at most {CAP:g} is allowed")
        if steps > MOST_STEPS:
            found.append(f"the longest wait is {steps:.1f} steps, at most {MOST_STEPS:g} may be")
        return found


def _median(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def measure(
    window: Callable[[], Felt],
    listeners: Mapping[str, Listener],
    *,
    repetitions: int,
    progress: Callable[[str], None],
) -> Measured:
    """All conditions in turn, another one first each time. window: what streams felt in one."""
    samples: dict[str, list[Felt]] = {name: [] for name in listeners}
    hears: dict[str, list[float]] = {name: [] for name in listeners}
    for repetition in range(repetitions):
        for name in running.in_turn(list(listeners), repetition):
            progress(f"{repetition + 1}/{repetitions}  {name}")
            with _hearing(listeners[name]):
                before_s, began_s = listeners[name].cpu_s(), time.perf_counter()
                samples[name].append(window())
                # The transcriber began a new process where this is less than before.
                used_s = max(0.0, listeners[name].cpu_s() - before_s)
                hears[name].append(used_s / (time.perf_counter() - began_s))
    return Measured(felt=samples, hears=hears)


@contextlib.contextmanager
def _hearing(listener: Listener) -> Iterator[None]:
    try:
        listener.start()
        yield
    finally:
        listener.stop()


def comparison(measured: Measured, *, title: str) -> Comparison:
    """The table."""
    rows = {
        label: {
            name: [getattr(one, field) for one in felts] for name, felts in measured.felt.items()
        }
        for field, label in _LABELS.items()
    }
    return Comparison(
        kind="speech",
        title=f"{title}: streams beside an hour of speech",
        unit="ms and tokens/s",
        condition="figure",
        baseline=ALONE,
        samples={**rows, _HEARS: {name: list(some) for name, some in measured.hears.items()}},
    )


def files(options: argparse.Namespace) -> tuple[Path, Path]:
    """The speech model and the recording, written on first use where none is named."""
    folder = cache.folder("speech")
    model, recording = folder / "ggml-random-tiny.en.bin", folder / "hour.wav"
    with cache.exclusive("speech"):
        if options.speech is None and not model.exists():
            partial = model.with_suffix(".partial")
            write_whisper(partial, width=_TINY_WIDTH, layers=_TINY_LAYERS)
            partial.rename(model)
        if options.recording is None and not recording.exists():
            _write_hour(recording)
    return options.speech or model, options.recording or recording


def _write_hour(path: Path) -> None:
    soundfile = importlib.import_module("soundfile")
    partial = path.with_suffix(".partial")
    random = np.random.default_rng(1)
    with soundfile.SoundFile(partial, "w", _RATE, 1, format="WAV", subtype="PCM_U8") as file:
        for _ in range(_HOUR_S // 60):
            file.write(np.clip(random.standard_normal(_RATE * 60) * 0.1, -1, 1))
    partial.rename(path)


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table."""
    if importlib.util.find_spec("_pywhispercpp") is None:
        raise BenchError("there is no pywhispercpp: pip install 'umad[whisper]'")
    facts = machine.facts(None)
    path = models.path(options.model)
    speech, recording = files(options)
    load = Load(
        clients=options.streams,
        prompt_tokens=options.prompt_tokens,
        tokens=options.tokens,
        think_s=options.think_s,
        background_prompt_tokens=options.prompt_tokens,
        background_tokens=1,
    )
    target = UmadTarget(
        None,
        Room(
            model=path,
            threads=options.threads,
            streams=load.clients + 1,
            stream_context_tokens=load.prompt_tokens + load.tokens + 64,
            umad_arguments=(str(speech),),
        ),
    )
    listeners: dict[str, Listener] = {
        ALONE: Nobody(),
        BESIDE: UmadTranscribe(target, recording),
        PLAIN: PlainWhisper(speech, threads=options.threads),
    }
    prompts = Prompts(models.text_tokens(path), seed=0)

    def window() -> Felt:
        seen = loading.window(target, load, prompts, seconds=options.seconds, background=False)
        return felt(seen.interactive, opened_ns=seen.opened_ns, closed_ns=seen.closed_ns)

    with running.started([target]), console.status("") as status:
        loading.warm_up(target, load, prompts)
        measured = measure(
            window,
            {name: listeners[name] for name in CONDITIONS if name in options.conditions},
            repetitions=options.repetitions,
            progress=status.update,
        )
    complaints = measured.complaints() if {ALONE, BESIDE} <= measured.felt.keys() else []
    kept = f"p95 within {CAP:g} of alone, longest wait within {MOST_STEPS:g} steps"
    notes = (
        (
            f"{load.clients} streams of {load.prompt_tokens} prompt and {load.tokens} generated"
            f" tokens; {options.threads} threads; windows of {options.seconds:g} s,"
            f" {options.repetitions} interleaved repetitions"
        ),
        "median (range) over repetitions; ratios are taken within each repetition",
        *(complaints or (kept,)),
    )
    table = comparison(measured, title=path.stem)
    command.publish(
        options, console, benchmark="speech", facts=facts, comparisons=[table], notes=notes
    )
    if complaints and options.check:
        raise BenchError(complaints[0])


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("speech", __doc__, model="qwen2-0.5b")
    add = parser.add_argument
    add("--speech", type=Path, metavar="FILE", help="a Whisper model in whisper.cpp's format")
    add("--recording", type=Path, metavar="FILE", help="what is heard")
    add("--conditions", nargs="+", choices=CONDITIONS, default=CONDITIONS, metavar="NAME")
    add("--seconds", type=float, default=20.0, help="of each window")
    add("--repetitions", type=command.positive, default=3)
    add("--streams", type=command.positive, default=2)
    add("--prompt-tokens", type=command.positive, default=16)
    add("--tokens", type=command.positive, default=2000, help="at most, of each answer")
    add("--think-s", type=float, default=0.0, help="between two answers")
    add("--check", action="store_true", help="fail where the promise is not kept")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
