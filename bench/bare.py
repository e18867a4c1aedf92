"""Measures decoding with nothing around it: llama-batched-bench's S_TG, and its CPU time.

This is the upper bound for every contender: it decodes random tokens, samples nothing and sends
nothing. Owner: the caller; each measurement is a process of its own, with a time limit.
"""

import json
import resource
import subprocess
from pathlib import Path

from bench.errors import BenchError


def decode_tokens_per_s(
    program: Path,
    model: Path,
    *,
    streams: int,
    prompt_tokens: int,
    tokens: int,
    context_tokens: int,
    threads: int,
    timeout_s: float = 600.0,
) -> float:
    """Tokens per second of `streams` sequences decoded in step, after the prompts' prefill.

    `context_tokens` is the whole KV cache, all streams together. Blocks until the run ends.
    """
    output = _output(
        program,
        *("--model", str(model)),
        *("--ctx-size", str(context_tokens)),
        *("--threads", str(threads)),
        *("-npp", str(prompt_tokens)),
        *("-ntg", str(tokens)),
        *("-npl", str(streams)),
        timeout_s=timeout_s,
    )
    return speed_in(output, streams=streams)


def cpu_s_per_token(
    program: Path,
    model: Path,
    *,
    prompt_tokens: int,
    tokens: int,
    requests: int,
    threads: int,
    timeout_s: float = 600.0,
) -> float:
    """CPU seconds of a single stream for each generated token, prompts included.

    The difference between a process that runs `requests` requests more and one that does not, so
    loading the model is not in it. Blocks until both have ended.
    """
    used_s = []
    for count in (1, 1 + requests):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _output(
            program,
            *("--model", str(model)),
            *("--ctx-size", str(prompt_tokens + tokens + 1)),
            *("--threads", str(threads)),
            *("-npp", str(prompt_tokens)),
            *("-ntg", str(tokens)),
            *("-npl", ",".join(["1"] * count)),
            timeout_s=timeout_s,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return (used_s[1] - used_s[0]) / (requests * tokens)


def _output(program: Path, *arguments: str, timeout_s: float) -> str:
    command = [str(program), *arguments, "--output-format", "jsonl"]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{program.name} was not done after {timeout_s:.0f} s") from error
    except OSError as error:
        raise BenchError(f"{program} did not start: {error.strerror}") from error
    if run.returncode:
        lines = run.stderr.strip().splitlines() or [f"exit code {run.returncode}"]
        raise BenchError(f"{program.name} failed: {lines[-1]}")
    return run.stdout


def speed_in(output: str, *, streams: int) -> float:
    """The S_TG of the line for `streams` in llama-batched-bench's jsonl output."""
    for line in output.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            if row["pl"] == streams:
                return float(row["speed_tg"])
    raise BenchError(
        f"llama-batched-bench printed no line for {streams} streams; is its context too small?"
    )
